/** What a worker sees of the same attributes: a page's patches do not reach it. */

import { gpuOf, scopeOf, timezoneOf } from "./scope.js";

const read = (): unknown => {
  const scope = { ...scopeOf(self), timezone: timezoneOf(self) };
  try {
    const renderer = typeof OffscreenCanvas === "undefined" ? undefined : gpuOf(new OffscreenCanvas(1, 1)).renderer;
    return { ...scope, gpu_renderer: renderer };
  } catch {
    return scope;
  }
};

self.postMessage(read());
