/** Whether functions are the browser's own, judged with the eyes of a fresh frame, which a page's patches did not reach. */

import type { Steps } from "./steps.js";

type Callable = (...args: never[]) => unknown;

/** Where a function lives: its owner, its name, and whether it is a getter. */
export type Place = [owner: object | undefined, name: string, getter?: boolean];

/** A hidden same-origin frame's window, and what removes it. */
export interface Frame {
  inner: (Window & typeof globalThis) | null;
  close(): void;
}

/**
 * Make a hidden frame: its element, the frame, and the window with its functions are the browser's own work, which no
 * script can divide further. Whoever patches what is read could do so in one step just as well: by patching `append`.
 */
export function* openFrame(): Steps<Frame> {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.tabIndex = -1;
  frame.setAttribute("aria-hidden", "true");
  // Through the object model, which a content security policy allows, unlike a style attribute.
  frame.style.setProperty("display", "none", "important");
  const close = (): void => frame.remove();
  yield;
  try {
    (document.body ?? document.documentElement).append(frame);
    yield;
    return { inner: frame.contentWindow as Frame["inner"], close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Run `work` with the window of a hidden frame; undefined where there can be none. */
export function* inFrame<Result>(work: (frame: Window & typeof globalThis) => Result): Steps<Result | undefined> {
  let frame: Frame | undefined;
  try {
    frame = yield* openFrame();
    yield;
    const found = frame.inner ? work(frame.inner) : undefined;
    yield;
    return found;
  } catch {
    return undefined;
  } finally {
    frame?.close();
  }
}

const functionAt = ([owner, name, getter]: Place): Callable | undefined => {
  const descriptor = owner && Object.getOwnPropertyDescriptor(owner, name);
  const found: unknown = getter ? descriptor?.get : descriptor?.value;
  return typeof found === "function" ? (found as Callable) : undefined;
};

/** Whether it is native: its text, as another realm's `toString` gives it, and no trace of a script's function. */
export const isNative = (found: Callable, name: string, toText: (this: unknown) => string): boolean => {
  const text = toText.call(found).replace(/\s+/g, " ");
  const plain = new RegExp(`^function (get |set )?${name.replace(/\W/g, "\\$&")}\\( ?\\) { \\[native code\\] }$`);
  // A bound function and a proxy are native code without a name; a script's own function has a prototype or arguments.
  return plain.test(text) && !Object.getOwnPropertyNames(found).some((own) => /^(prototype|arguments|caller|toString)$/.test(own));
};

/** Names of those places whose function is not the browser's own. Places that are empty in this browser count as whole. */
export const patched = (places: Record<string, Place>, frame: Window & typeof globalThis): string[] => {
  const toText = frame.Function.prototype.toString;
  return Object.entries(places)
    .filter(([, place]) => {
      const found = functionAt(place);
      return found !== undefined && !isNative(found, place[1], toText);
    })
    .map(([name]) => name);
};
