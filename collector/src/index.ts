/** `start`: what an app team calls. Nothing of the browser is touched before. */

import { askForMotion } from "./motion.js";
import type { CaptureFacts, Collector, Options } from "./options.js";
import { Recorder } from "./recorder.js";
import type { Outside } from "./sender.js";

export type * from "./options.js";

/** The browser's own functions, bound as they are when the collector starts. */
const outside = (): Outside => {
  const send = window.fetch.bind(window);
  return {
    fetch: send,
    beacon: (url, body) => navigator.sendBeacon(url, body),
    clock: () => Date.now(),
    random: () => Math.random(),
    later: (work, ms) => setTimeout(work, ms),
    cancel: (timer) => clearTimeout(timer as number),
  };
};

/** Start a collector for one session. It collects what `consent` names, and nothing before. */
export const start = (options: Options): Collector => {
  const recorder = new Recorder(options, outside());
  let deviceAsked = false;
  let cameras: Promise<typeof import("./camera.js")> | undefined;

  const quietly = <T>(work: () => Promise<T>): Promise<T | undefined> =>
    work().catch((error: unknown) => {
      recorder.failed(error);
      return undefined;
    });
  const camera = (): Promise<typeof import("./camera.js")> => (cameras ??= import("./camera.js"));
  const readDevice = async (): Promise<void> => {
    deviceAsked = true;
    const { readDevice: read } = await import("./device.js");
    const device = await read(() => recorder.allows("device"));
    // Withdrawn meanwhile: if it is given again, it is read again.
    if (device && recorder.allows("device")) recorder.tell({ device });
    else deviceAsked = false;
  };
  const agree: Collector["setConsent"] = (consent) => {
    recorder.guard(() => recorder.agree(consent));
    if (recorder.allows("device") && !deviceAsked) {
      void quietly(readDevice).then(() => {
        if (recorder.allows("device") && !deviceAsked) void quietly(readDevice);
      });
    }
  };
  const watch = (video: HTMLVideoElement | undefined, facts: CaptureFacts): (() => void) => {
    let ended = false;
    let end = (): void => {
      ended = true;
    };
    if (recorder.allows("camera")) {
      void quietly(async () => {
        const module = await camera();
        if (!ended && recorder.allows("camera")) end = module.watch(recorder, video, facts);
      });
    }
    return () => recorder.guard(() => end());
  };

  const leave = (): void => {
    recorder.flush(true);
    recorder.sender.leave();
  };
  recorder.guard(() => {
    addEventListener("pagehide", () => recorder.guard(leave));
    document.addEventListener("visibilitychange", () => {
      // Phones may end a hidden page without another word; and on the way out this comes after `pagehide`.
      if (document.visibilityState === "hidden") recorder.guard(leave);
    });
  });
  const missing = (["endpoint", "session_id", "nonce", "token"] as const).filter((name) => !options.session?.[name]);
  if (missing.length) {
    recorder.failed(new Error(`tellwire: no ${missing.join(", ")} in session: what your server got from the gateway`));
    recorder.stop("options");
  }
  agree(options.consent ?? {});

  return {
    setConsent: agree,
    requestMotion: async () => recorder.allows("motion") && (await quietly(askForMotion)) === true,
    openCamera: async (constraints) => {
      const began = performance.now();
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      const asked = constraints.video;
      recorder.guard(() => {
        const responseMs = performance.now() - began;
        watch(undefined, { asked: typeof asked === "object" ? asked : {}, responseMs });
      });
      return stream;
    },
    watchCamera: (video, facts = {}) => watch(video, facts),
    reportCapture: (facts) => void watch(undefined, facts),
    reportSubmit: () => void recorder.guard(() => recorder.allows("behaviour") && recorder.form.submitted(performance.now())),
    flush: () => recorder.flush(),
    end: (reason) => void recorder.guard(() => recorder.end(reason)),
    stop: () => recorder.stop("stopped"),
    stats: () => recorder.stats(),
  };
};
