/** What an app team passes in and gets back: the public types. */

import type { SessionEnd } from "./contract.js";

/** What the app's server got from the gateway (`POST /v1/sessions`) and put into the page, as it came. */
export interface SessionGrant {
  /** URL of the gateway's telemetry endpoint, e.g. `https://gateway.example/v1/telemetry`. */
  endpoint: string;
  session_id: string;
  nonce: string;
  /** Signed, opaque; says tenant, flow, session and account, so that the browser need not. */
  token: string;
}

/** What the person agreed to. What is not `true` is neither read, nor kept, nor sent. */
export interface Consent {
  /** Pointer, touch, scroll, key timing by class, focus, and how fields were filled. */
  behaviour?: boolean;
  /** Attributes of device and browser, read once. */
  device?: boolean;
  /** Facts of the camera step: which camera, what was asked and got, frame times. Never an image. */
  camera?: boolean;
  /** Accelerometer and gyroscope, while the page is used. */
  motion?: boolean;
}

export interface Options {
  session: SessionGrant;
  /** Default: nothing; give it later with `setConsent`. */
  consent?: Consent;
  /**
   * Asked when the token has expired: a new token from your server. It has 20 s, and is asked again, ever more rarely,
   * up to five times in a row. Without it, or without a token that serves, sending ends then.
   */
  renew?: () => Promise<string>;
  /**
   * Your own first-party device id, where you have one. The gateway hashes it. It goes with every request under any
   * consent: leave it out where the person did not agree to it.
   */
  deviceRef?: string;
  /** The person declared assistive technology. It only ever exempts from signals. Sent with any consent. */
  assistiveTechnology?: boolean;
  /** Time a batch gathers, ms; 100 to 5000, default 500. */
  batchMs?: number;
  /** Told of the collector's own errors, for your logs. They never reach the page otherwise. */
  onError?: (error: unknown) => void;
}

/** What happened so far: for a debug panel or a test. */
export interface Stats {
  /** Events made; the next one's `sequence` on this page. */
  events: number;
  /** Events that the gateway acknowledged. */
  sent: number;
  /** Events that wait. */
  queued: number;
  /** Events given up: refused, too old, or beyond the queue's bound. */
  dropped: number;
  /** The collector's own errors that were caught. */
  errors: number;
  /** Why sending ended, if it did. */
  stopped?: string;
}

export type EndReason = SessionEnd["reason"];

/** What the app tells of the camera step that the collector cannot see. */
export interface CaptureFacts {
  /** The constraints that the app passed to `getUserMedia`. */
  asked?: MediaTrackConstraints;
  /** How long `getUserMedia` took, ms. */
  responseMs?: number;
  /** A file was uploaded in place of a live capture. */
  upload?: boolean;
  /** Hash of the captured image or video; the gateway hashes it again with its key. */
  captureRef?: string;
}

/** A running collector. None of its methods throws, or rejects, because of the collector. */
export interface Collector {
  /** Replace what the person agreed to; what is withdrawn stops at once, and what waits of it is thrown away. */
  setConsent(consent: Consent): void;
  /** Ask for the motion sensors where a browser wants that (iOS); call it from a tap. True: they may be read. */
  requestMotion(): Promise<boolean>;
  /** `navigator.mediaDevices.getUserMedia`, watched: rejects as that does. */
  openCamera(constraints: MediaStreamConstraints): Promise<MediaStream>;
  /**
   * Watch a video element that shows the camera's stream, as soon as and as long as `camera` is agreed to; returns a
   * function that ends it. One watch is one camera: end it before another camera is used for another step.
   */
  watchCamera(video: HTMLVideoElement, facts?: CaptureFacts): () => void;
  /** Tell facts of the capture step. */
  reportCapture(facts: CaptureFacts): void;
  /** Tell a submission that fires no `submit` event. */
  reportSubmit(): void;
  /** Make an event of what was gathered, now. */
  flush(): void;
  /** The session is over: send what is left, then stop. Without it a session ends by itself after a while. */
  end(reason: EndReason): void;
  /** Stop: remove every listener, throw away what waits. */
  stop(): void;
  stats(): Stats;
}
