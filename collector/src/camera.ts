/** Facts of the camera step, loaded when a camera is watched: which camera, what was asked and got, and frame times. */

import type { CameraTrack, Capture } from "./contract.js";
import { now, round, type Env } from "./env.js";
import { labelOf } from "./label.js";
import { inFrame, patched, type Place } from "./native.js";
import type { CaptureFacts } from "./options.js";
import { inSteps } from "./steps.js";

/** What it needs of the recorder. */
export interface CameraEnv extends Env {
  /** An error of what ran later: counted and told to `onError`. */
  failed(error: unknown): void;
  allows(need: "camera"): boolean;
  tell(facts: { capture: Capture }): void;
  before(ask: () => void): void;
}

/** Frames an event may hold. */
const MAX_FRAMES = 600;

interface Frame {
  shown: number;
  media: number;
  captured: number | null;
}

interface State {
  /** Facts that are new since the last event. */
  news: Capture;
  /** Whether hooks were looked for. */
  searched: boolean;
  frames: Frame[];
  presented: number | undefined;
  delivered: CameraTrack;
  /** Identifier of the track in use; stays here. */
  track: string | undefined;
  watching: Set<HTMLVideoElement>;
}

const states = new WeakMap<CameraEnv, State>();

const places = (): Record<string, Place> => ({
  getUserMedia: [window.MediaDevices?.prototype, "getUserMedia"],
  getDisplayMedia: [window.MediaDevices?.prototype, "getDisplayMedia"],
  enumerateDevices: [window.MediaDevices?.prototype, "enumerateDevices"],
  "MediaStreamTrack.label": [window.MediaStreamTrack?.prototype, "label", true],
  "MediaStreamTrack.getSettings": [window.MediaStreamTrack?.prototype, "getSettings"],
  "MediaStreamTrack.getCapabilities": [window.MediaStreamTrack?.prototype, "getCapabilities"],
  "MediaStreamTrack.getConstraints": [window.MediaStreamTrack?.prototype, "getConstraints"],
  "MediaStreamTrack.applyConstraints": [window.MediaStreamTrack?.prototype, "applyConstraints"],
  "MediaStream.getVideoTracks": [window.MediaStream?.prototype, "getVideoTracks"],
  "HTMLVideoElement.requestVideoFrameCallback": [HTMLVideoElement.prototype, "requestVideoFrameCallback"],
  "HTMLMediaElement.srcObject": [HTMLMediaElement.prototype, "srcObject", true],
  "HTMLMediaElement.captureStream": [HTMLMediaElement.prototype, "captureStream"],
  "HTMLCanvasElement.captureStream": [HTMLCanvasElement.prototype, "captureStream"],
  "CanvasRenderingContext2D.drawImage": [CanvasRenderingContext2D.prototype, "drawImage"],
});

/** The camera step is short: its check may wait for a busy page for so long before each of its steps, ms. */
const CHECK_WAITS_MS = 100;

/** Media functions that are not the browser's own, also where an instance hides the prototype's. */
const hooked = async (): Promise<string[]> => {
  const found = (await inSteps(inFrame((frame) => patched(places(), frame)), CHECK_WAITS_MS)) ?? [];
  const own = navigator.mediaDevices ? Object.getOwnPropertyNames(navigator.mediaDevices) : [];
  return [...found, ...own.map((name) => `mediaDevices.${name}`)].slice(0, 64);
};

/** Look for hooks, once, and tell what was found. */
const check = async (env: CameraEnv, state: State): Promise<void> => {
  if (state.searched) return;
  state.searched = true;
  const found = await hooked();
  if (env.allows("camera")) news(env, state, { hooked_functions: found });
  else state.searched = false;
};

const wanted = (value: ConstrainULong | ConstrainDouble | undefined): number | undefined => {
  const one = typeof value === "object" ? (value.exact ?? value.ideal ?? value.max ?? value.min) : value;
  return typeof one === "number" && Number.isFinite(one) ? Math.max(0, one) : undefined;
};

const facing = (value: ConstrainDOMString | undefined): string | undefined => {
  const one = typeof value === "object" && !Array.isArray(value) ? (value.exact ?? value.ideal) : value;
  return (Array.isArray(one) ? one[0] : one)?.slice(0, 256);
};

const askedOf = ({ asked, responseMs }: CaptureFacts): CameraTrack => ({
  width_px: wanted(asked?.width),
  height_px: wanted(asked?.height),
  frame_rate_hz: wanted(asked?.frameRate),
  facing_mode: facing(asked?.facingMode),
  response_ms: responseMs === undefined ? undefined : round(Math.max(0, responseMs)),
});

const reportedOf = (settings: MediaTrackSettings): CameraTrack => ({
  width_px: settings.width,
  height_px: settings.height,
  frame_rate_hz: settings.frameRate === undefined ? undefined : round(settings.frameRate),
  facing_mode: settings.facingMode?.slice(0, 256),
});

/** What the frames themselves say: their size, and the rate of their media times. */
const deliveredOf = (state: State): CameraTrack => {
  const first = state.frames[0];
  const last = state.frames[state.frames.length - 1];
  const seconds = first && last ? last.media - first.media : 0;
  const rate = seconds > 0 ? round((state.frames.length - 1) / seconds) : undefined;
  return { ...state.delivered, frame_rate_hz: rate };
};

const begin = (env: CameraEnv): State => {
  const state: State = {
    news: {},
    searched: false,
    frames: [],
    presented: undefined,
    delivered: {},
    track: undefined,
    watching: new Set(),
  };
  states.set(env, state);
  env.before(() => {
    if (!env.allows("camera")) {
      state.frames = [];
      state.news = {};
      return;
    }
    if (!state.frames.length && !Object.keys(state.news).length) return;
    const capture: Capture = { ...state.news };
    if (state.frames.length) {
      capture.delivered = deliveredOf(state);
      capture.frame_t = state.frames.map((frame) => env.offset(frame.shown));
      capture.media_t = state.frames.map((frame) => frame.media);
      capture.capture_t = state.frames.map((frame) => (frame.captured === null ? null : env.offset(frame.captured)));
      capture.presented_frames = state.presented;
    }
    state.news = {};
    state.frames = [];
    env.tell({ capture });
  });
  env.guard(() =>
    navigator.mediaDevices?.addEventListener("devicechange", () => {
      if (env.allows("camera") && state.watching.size) news(env, state, { device_list_changed: true });
    }),
  );
  return state;
};

const news = (env: CameraEnv, state: State, facts: Capture): void => {
  env.mark(now());
  Object.assign(state.news, facts);
};

/** Look at the video's track; tell what is new of it. */
const look = async (env: CameraEnv, state: State, video: HTMLVideoElement): Promise<void> => {
  const stream = video.srcObject;
  const track = stream instanceof MediaStream ? stream.getVideoTracks()[0] : undefined;
  if (!track || track.id === state.track) return;
  const switched = state.track !== undefined;
  state.track = track.id;
  const capabilities: object = track.getCapabilities?.() ?? {};
  const facts: Capture = {
    camera_label: labelOf(track.label),
    reported: reportedOf(track.getSettings()),
    capabilities: Object.keys(capabilities).sort().slice(0, 64),
  };
  if (switched) facts.camera_switched = true;
  news(env, state, facts);
  const devices = await navigator.mediaDevices.enumerateDevices();
  const labels = devices.filter((one) => one.kind === "videoinput" && one.label).map((one) => labelOf(one.label));
  if (env.allows("camera") && labels.length) news(env, state, { camera_labels: labels.slice(0, 32) });
};

/** Take over facts, and watch the video's frames, if one is given. Returns what ends the watch. */
export const watch = (env: CameraEnv, video: HTMLVideoElement | undefined, facts: CaptureFacts): (() => void) => {
  const state = states.get(env) ?? begin(env);
  check(env, state).catch((error: unknown) => env.failed(error));
  if (facts.asked || facts.responseMs !== undefined) news(env, state, { asked: askedOf(facts) });
  if (facts.upload !== undefined) news(env, state, { upload: facts.upload });
  if (facts.captureRef) news(env, state, { capture_ref: facts.captureRef.slice(0, 128) });
  if (!video) return () => undefined;
  state.watching.add(video);
  let going = true;
  let handle = 0;
  const quietly = (): void => void look(env, state, video).catch((error: unknown) => env.failed(error));

  const frame = (time: number, meta: VideoFrameCallbackMetadata): void => {
    env.guard(() => {
      if (!going) return;
      handle = video.requestVideoFrameCallback(frame);
      if (!env.allows("camera")) return;
      env.mark(time);
      state.delivered = { width_px: meta.width, height_px: meta.height };
      state.presented = meta.presentedFrames;
      const captured = meta.captureTime ?? null;
      state.frames.push({ shown: meta.presentationTime ?? time, media: Math.round(meta.mediaTime * 1e6) / 1e6, captured });
      if (state.frames.length >= MAX_FRAMES) env.flush();
    });
  };
  const loaded = (): void => {
    if (going && env.allows("camera")) quietly();
  };
  video.addEventListener("loadedmetadata", loaded);
  if (video.srcObject) quietly();
  // A browser without frame callbacks tells no frame times: then they are absent.
  if ("requestVideoFrameCallback" in video) handle = video.requestVideoFrameCallback(frame);
  return () => {
    going = false;
    state.watching.delete(video);
    // Another camera for another step is no switch.
    if (!state.watching.size) state.track = state.presented = undefined;
    video.removeEventListener("loadedmetadata", loaded);
    if (handle) video.cancelVideoFrameCallback(handle);
  };
};
