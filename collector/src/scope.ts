/** Attributes that are read alike in the window, in a frame and in a worker, to be compared there on the server. */

import type { Scope } from "./contract.js";

interface AnyNavigator {
  userAgent?: string;
  platform?: string;
  hardwareConcurrency?: number;
  deviceMemory?: number;
  languages?: readonly string[];
  webdriver?: boolean;
}

interface AnyScope {
  navigator: AnyNavigator;
}

export const text = (value: unknown, longest = 256): string | undefined =>
  typeof value === "string" ? value.slice(0, longest) : undefined;

export const count = (value: unknown): number | undefined =>
  typeof value === "number" && value >= 0 ? Math.floor(value) : undefined;

/** The unmasked vendor and renderer of a WebGL context, which is given back at once. */
export const gpuOf = (canvas: HTMLCanvasElement | OffscreenCanvas): { vendor?: string; renderer?: string } => {
  const gl = canvas.getContext("webgl", { failIfMajorPerformanceCaveat: false }) as WebGLRenderingContext | null;
  if (!gl) return {};
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const read = (name: number): string | undefined => text(gl.getParameter(name));
  // Firefox needs no extension, and says so in the console when it is used.
  const vendor = read(info?.UNMASKED_VENDOR_WEBGL ?? gl.VENDOR);
  const renderer = read(info?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return { ...(vendor ? { vendor } : {}), ...(renderer ? { renderer } : {}) };
};

/** Apart from the rest: the first use of `Intl` in a process loads its tables. */
export const timezoneOf = (scope: { Intl: typeof Intl }): string | undefined =>
  text(new scope.Intl.DateTimeFormat().resolvedOptions().timeZone);

export const scopeOf = (scope: AnyScope): Scope => {
  const { userAgent, platform, hardwareConcurrency, deviceMemory, languages, webdriver } = scope.navigator;
  return {
    user_agent: text(userAgent, 1024),
    platform: text(platform),
    hardware_concurrency: count(hardwareConcurrency),
    device_memory_gib: deviceMemory,
    languages: languages && [...languages].slice(0, 32).map((one) => String(one).slice(0, 256)),
    webdriver: typeof webdriver === "boolean" ? webdriver : undefined,
  };
};
