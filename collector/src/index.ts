/** `start`: what an app team calls. Nothing of the browser is touched before. */

import { askForMotion } from "./motion.js";
import type { CaptureFacts, Collector, Consent, Options } from "./options.js";
import { begun } from "./quick.js";
import { Recorder } from "./recorder.js";
import type { Outside } from "./sender.js";

export type * from "./options.js";

/** The browser's own functions, bound as they are when the collector starts. */
const outside = (): Outside => {
  const send = window.fetch.bind(window);
  return {
    fetch: send,
    beacon: "keepalive" in Request.prototype ? undefined : (url, body) => navigator.sendBeacon(url, body),
    clock: () => Date.now(),
    random: () => Math.random(),
    later: (work, ms) => setTimeout(work, ms),
    cancel: (timer) => clearTimeout(timer as number),
  };
};

/** A camera step that the page asked for: it goes on while that is agreed to. */
interface Watch {
  video: HTMLVideoElement;
  facts: CaptureFacts;
  on?: boolean;
  end?: (() => void) | undefined;
}

/** Start a collector for one session. It collects what `consent` names, and nothing before. */
export const start = (options: Options): Collector => {
  const recorder = new Recorder(options, outside());
  let deviceAsked = false;
  const watches = new Set<Watch>();
  /** Consent that waits for a page that was loaded before anybody saw it. */
  let held: Consent | undefined;

  const quietly = <T>(work: () => Promise<T>): Promise<T | undefined> =>
    work().catch((error: unknown) => {
      recorder.failed(error);
      return undefined;
    });
  const readDevice = async (): Promise<void> => {
    deviceAsked = true;
    const device = begun();
    recorder.reads(device);
    const { readInto } = await import("./device.js");
    const isWhole = await readInto(device, () => recorder.allows("device"));
    // Withdrawn meanwhile: if it is given again, it is read again.
    if (isWhole && recorder.allows("device")) recorder.tell({ device });
    else deviceAsked = false;
  };
  const pause = (watch: Watch): void => {
    const { end } = watch;
    watch.on = false;
    watch.end = undefined;
    if (end) recorder.guard(end);
  };
  const begin = async (watch: Watch): Promise<void> => {
    if (watch.on) return;
    watch.on = true;
    try {
      const { watch: follow } = await import("./camera.js");
      // Ended or withdrawn meanwhile, or begun by another call.
      if (watch.on && !watch.end && recorder.allows("camera")) watch.end = follow(recorder, watch.video, watch.facts);
    } catch (error) {
      pause(watch);
      throw error;
    }
  };
  /** Begin and end what follows the camera and reads the device, as consent has it now. */
  const follow = (): void => {
    for (const watch of watches) {
      if (recorder.allows("camera")) void quietly(() => begin(watch));
      else pause(watch);
    }
    if (recorder.allows("device") && !deviceAsked) {
      void quietly(readDevice).then(() => {
        if (recorder.allows("device") && !deviceAsked) void quietly(readDevice);
      });
    }
  };
  const agree: Collector["setConsent"] = (consent) => {
    if (held) {
      held = consent;
      return;
    }
    recorder.guard(() => recorder.agree(consent));
    follow();
  };
  const report = (facts: CaptureFacts): void => {
    if (!recorder.allows("camera")) return;
    void quietly(async () => {
      const module = await import("./camera.js");
      if (recorder.allows("camera")) module.watch(recorder, undefined, facts);
    });
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
  const agreed = options.consent ?? {};
  if ((document as { prerendering?: boolean }).prerendering) {
    held = agreed;
    const seen = (): void => {
      const consent = held ?? {};
      held = undefined;
      agree(consent);
    };
    document.addEventListener("prerenderingchange", seen, { once: true });
  } else agree(agreed);

  return {
    setConsent: agree,
    requestMotion: async () => recorder.allows("motion") && (await quietly(askForMotion)) === true,
    openCamera: async (constraints) => {
      const began = performance.now();
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      const asked = constraints.video;
      recorder.guard(() => {
        const responseMs = performance.now() - began;
        report({ asked: typeof asked === "object" ? asked : {}, responseMs });
      });
      return stream;
    },
    watchCamera: (video, facts = {}) => {
      const watch: Watch = { video, facts };
      watches.add(watch);
      follow();
      return () => {
        watches.delete(watch);
        pause(watch);
      };
    },
    reportCapture: report,
    reportSubmit: () => void recorder.guard(() => recorder.allows("behaviour") && recorder.form.submitted(performance.now())),
    flush: () => recorder.flush(),
    end: (reason) => {
      recorder.guard(() => recorder.end(reason));
      follow();
    },
    stop: () => {
      recorder.stop("stopped");
      follow();
    },
    stats: () => recorder.stats(),
  };
};
