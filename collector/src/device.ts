/** What takes work to learn of device and browser: loaded with consent and read once, in small steps while the page is idle. */

import type { Device, Scope } from "./contract.js";
import { hash } from "./hash.js";
import { openFrame, patched, type Frame, type Place } from "./native.js";
import { audio, canvasText, fontGroups, fontsOf } from "./rendering.js";
import { count, gpuOf, scopeOf, text, timezoneOf } from "./scope.js";
import { idle, inSteps } from "./steps.js";

type Nav = Navigator & { connection?: { rtt?: number }; brave?: unknown };

/** Names that automation tools leave behind, on the window, the document, and as attributes of its root. */
const GLOBALS =
  /cdc_|wdc_|__webdriver|__driver_|__fxdriver|__selenium|_selenium|callSelenium|calledSelenium|_Selenium_IDE|_WEBDRIVER_ELEM_CACHE|ChromeDriverw|\$chrome_asyncScriptInfo|__\$webdriver|__lastWatir|domAutomation|__nightmare|callPhantom|_phantom|awesomium|CefSharp|^_?geb$|wdioElectron|__playwright|__pwInitScripts|__pw_/;
const ATTRIBUTES = /^(selenium|webdriver|driver)$/;

/** Window properties of which a browser has hundreds: names alone are looked at, never values. */
const automation = (): string[] => {
  const names = [window, document].flatMap((owner) => Object.getOwnPropertyNames(owner));
  const left = names.filter((name) => GLOBALS.test(name));
  const attributes = document.documentElement.getAttributeNames().filter((name) => ATTRIBUTES.test(name));
  return [...left, ...attributes].map((name) => name.slice(0, 256)).slice(0, 64);
};

const TEXT = "Function.toString";
const places = (): Record<string, Place> => ({
  "Navigator.webdriver": [Navigator.prototype, "webdriver", true],
  "Navigator.languages": [Navigator.prototype, "languages", true],
  "Navigator.language": [Navigator.prototype, "language", true],
  "Navigator.plugins": [Navigator.prototype, "plugins", true],
  "Navigator.platform": [Navigator.prototype, "platform", true],
  "Navigator.vendor": [Navigator.prototype, "vendor", true],
  "Navigator.userAgent": [Navigator.prototype, "userAgent", true],
  "Navigator.hardwareConcurrency": [Navigator.prototype, "hardwareConcurrency", true],
  "Navigator.deviceMemory": [Navigator.prototype, "deviceMemory", true],
  "Navigator.maxTouchPoints": [Navigator.prototype, "maxTouchPoints", true],
  "Permissions.query": [window.Permissions?.prototype, "query"],
  "Screen.width": [Screen.prototype, "width", true],
  "Screen.height": [Screen.prototype, "height", true],
  "WebGLRenderingContext.getParameter": [window.WebGLRenderingContext?.prototype, "getParameter"],
  "HTMLCanvasElement.getContext": [HTMLCanvasElement.prototype, "getContext"],
  "HTMLCanvasElement.toDataURL": [HTMLCanvasElement.prototype, "toDataURL"],
  "HTMLIFrameElement.contentWindow": [HTMLIFrameElement.prototype, "contentWindow", true],
  "Date.getTimezoneOffset": [Date.prototype, "getTimezoneOffset"],
  [TEXT]: [Function.prototype, "toString"],
  "MouseEvent.screenX": [MouseEvent.prototype, "screenX", true],
  "Event.isTrusted": [Event.prototype, "isTrusted", true],
});

/**
 * Whether somebody reads this console from outside: then, and only then, Chromium formats an error's stack for it. Done in
 * a frame of its own, so the page's console and its errors are left alone.
 */
const watched = (frame: Window & typeof globalThis): boolean | undefined => {
  const errors = frame.Error as ErrorConstructor & { captureStackTrace?: unknown; prepareStackTrace?: () => string };
  if (!errors.captureStackTrace) return undefined;
  let read = false;
  errors.prepareStackTrace = () => {
    read = true;
    return "";
  };
  frame.console.debug(new errors());
  return read;
};

/** `navigator.webdriver` as the browser made it: on the prototype, native, and on no instance. */
const webdriverNative = (broken: readonly string[]): boolean | undefined => {
  const own = Object.getOwnPropertyNames(navigator).includes("webdriver");
  const descriptor = Object.getOwnPropertyDescriptor(Navigator.prototype, "webdriver");
  if (own) return false;
  return descriptor?.get ? !broken.includes("Navigator.webdriver") : false;
};

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL: (url: string) => string }): Policy;
}
interface Policy {
  createScriptURL(url: string): URL;
}

let trusted: Policy | undefined;

/** The worker's address; where a page asks for trusted types, as its policy `tellwire` (made once) gives it. */
const workerUrl = (): URL => {
  const plain = new URL("./worker.js", import.meta.url);
  const types = (window as { trustedTypes?: TrustedTypes }).trustedTypes;
  if (!types) return plain;
  trusted ??= types.createPolicy("tellwire", { createScriptURL: (url) => url });
  return trusted.createScriptURL(plain.href);
};

const inWorker = (): Promise<Scope | undefined> =>
  new Promise((resolve) => {
    try {
      const worker = new Worker(workerUrl(), { type: "module" });
      const done = (scope?: Scope): void => {
        worker.terminate();
        resolve(scope);
      };
      worker.onmessage = (event: MessageEvent<Scope>) => done(event.data);
      worker.onerror = (event) => {
        event.preventDefault();
        done();
      };
      setTimeout(done, 5000);
    } catch {
      resolve(undefined);
    }
  });

const permission = async (): Promise<string | undefined> => {
  const status = await navigator.permissions?.query({ name: "notifications" });
  return text(status?.state);
};

/** Whether this browser, or its mode, is known to give false attributes on purpose. */
const private_ = (nav: Nav, canvasStable: boolean | undefined): boolean | undefined => {
  if (nav.brave) return true;
  // Firefox's resistFingerprinting says UTC and calls the window the screen: a window that fills its screen is less high.
  const firefox = "mozInnerScreenX" in window;
  if (firefox && canvasStable === false) return true;
  return firefox && screen.width === innerWidth && screen.height === innerHeight && devicePixelRatio === 1 &&
    new Date().getTimezoneOffset() === 0
    ? true
    : undefined;
};

/**
 * Read everything that `wanted` still allows into `device`, which was begun (`quick.ts`); whether all of it was read. What
 * is soonest done comes first: a page may be left at any step. Each part that fails is absent.
 */
export const readInto = async (device: Device, wanted: () => boolean): Promise<boolean> => {
  const nav: Nav = navigator;
  const worker = inWorker();
  let frame: Frame | undefined;
  const fonts: (string[] | undefined)[] = [];
  const steps: (() => void | Promise<void>)[] = [
    () => {
      device.automation_globals = automation();
    },
    () => {
      device.product_sub = text(nav.productSub);
      device.timezone_offset_min = new Date().getTimezoneOffset();
      device.plugin_count = count(nav.plugins?.length);
      device.rtt_ms = count(nav.connection?.rtt);
      device.eval_length = globalThis.eval.toString().length;
    },
    () => {
      device.reduced_motion = matchMedia("(prefers-reduced-motion: reduce)").matches;
      device.notification_permission = "Notification" in window ? text(Notification.permission) : undefined;
    },
    async () => {
      device.notification_query = await permission();
    },
    async () => {
      frame = await inSteps(openFrame());
    },
    () => {
      if (frame?.inner) device.iframe = scopeOf(frame.inner);
    },
    () => {
      if (!frame?.inner) return;
      const found = patched(places(), frame.inner);
      // Error trackers and polyfills patch this on every page that they serve; who tampers patches more than that.
      const broken = found.length > 1 ? found : found.filter((name) => name !== TEXT);
      device.native_functions_patched = broken;
      device.webdriver_native = webdriverNative(broken);
    },
    () => {
      if (frame?.inner) device.cdp_open = watched(frame.inner);
    },
    // Before any `Intl` here: its tables, which a process loads once, are then loaded on the worker's thread.
    async () => {
      const scope = await worker;
      if (scope) device.worker = scope;
    },
    () => {
      device.timezone = timezoneOf(window);
    },
    () => {
      if (frame?.inner && device.iframe) device.iframe.timezone = timezoneOf(frame.inner);
    },
    () => frame?.close(),
    () => {
      const { vendor, renderer } = gpuOf(document.createElement("canvas"));
      device.gpu_vendor = vendor;
      device.gpu_renderer = renderer;
    },
    async () => {
      const first = await inSteps(canvasText());
      await idle();
      const second = await inSteps(canvasText());
      if (first === undefined || second === undefined) return;
      device.canvas_hash = hash(first);
      device.canvas_stable = first === second;
    },
    ...fontGroups().map((names) => () => {
      fonts.push(fontsOf(names));
    }),
    () => {
      if (!fonts.includes(undefined)) device.fonts_hash = hash(fonts.flat().join());
    },
    async () => {
      const first = await audio();
      const second = first && (await audio());
      if (!first || !second) return;
      device.audio_hash = hash(first);
      device.audio_stable = hash(second) === device.audio_hash;
    },
    () => {
      device.resist_fingerprinting = private_(nav, device.canvas_stable);
    },
  ];
  try {
    for (const step of steps) {
      await idle();
      if (!wanted()) return false;
      try {
        await step();
      } catch {
        // Absent: not every browser, frame or policy lets everything be read.
      }
    }
  } finally {
    frame?.close();
  }
  return true;
};
