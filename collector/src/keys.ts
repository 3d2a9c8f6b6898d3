/** Key presses: when, how long, and of which class. The character is looked at to find its class, and not kept. */

import { KeyClass, type Keys } from "./contract.js";
import { sensitive } from "./fields.js";
import { ignored, Listeners, MAX_COLUMN, now, targetOf, timeOf, type Env, type Family } from "./env.js";

/** How long a press waits for its release, ms; later presses wait behind it, so that rows are in order. */
const WAIT_MS = 1000;

const NAMED: Record<string, KeyClass> = {
  " ": KeyClass.SPACE,
  Enter: KeyClass.ENTER,
  Backspace: KeyClass.DELETE,
  Delete: KeyClass.DELETE,
  Clear: KeyClass.DELETE,
};
const MODIFIERS = /^(Shift|Control|Alt|AltGraph|Meta|OS|CapsLock|NumLock|ScrollLock|Fn|FnLock|Hyper|Super|Symbol)$/;
const NAVIGATION = /^(Arrow.+|Home|End|Page.+|Tab|Escape|Esc)$/;

/** The class of `KeyboardEvent.key`. In a sensitive field every printable key is `OTHER`. */
export const classOf = (key: string, hidden = false): KeyClass => {
  const printable = [...key].length === 1;
  if (hidden && printable) return KeyClass.OTHER;
  const named = NAMED[key];
  if (named) return named;
  if (!printable) {
    return MODIFIERS.test(key) ? KeyClass.MODIFIER : NAVIGATION.test(key) ? KeyClass.NAVIGATION : KeyClass.OTHER;
  }
  if (/\p{L}/u.test(key)) return KeyClass.LETTER;
  return /\p{Nd}/u.test(key) ? KeyClass.DIGIT : /[\p{P}\p{S}]/u.test(key) ? KeyClass.PUNCTUATION : KeyClass.OTHER;
};

/** Whether an input method has the key: no single key is to be seen. */
export const composing = (event: KeyboardEvent): boolean =>
  event.isComposing || event.key === "Process" || event.key === "Unidentified" || event.keyCode === 229;

/** Whether no key was pressed: browsers that fill a field in, and password managers, send such events around it. */
export const keyless = (event: KeyboardEvent): boolean => !event.key;

/** Who hands keys to a browser presses no Shift. On a Mac, what types for people sends all its text by the key of A. */
const unshifted = (event: KeyboardEvent): boolean =>
  event.isTrusted &&
  /^Key[B-Z]$/.test(event.code) &&
  event.key.toLowerCase() !== event.key &&
  !["Shift", "CapsLock", "Control", "Alt", "AltGraph", "Meta"].some((name) => event.getModifierState(name));

/** Capitals without Shift that are told. */
const UNSHIFTED = 2;

interface Row {
  down: number;
  up: number | null;
  kind: KeyClass;
  /** Physical key while it is held; then dropped. */
  code: string;
}

export const keys = (env: Env): Family<Keys> => {
  const listeners = new Listeners(env);
  let rows: Row[] = [];
  let untrusted = 0;
  let ime = 0;
  let unfocused = 0;
  let capitals = 0;

  const count = (event: KeyboardEvent): void => {
    env.mark(timeOf(event));
    if (!event.isTrusted) untrusted++;
    if (!document.hasFocus()) unfocused++;
  };
  const down = (event: KeyboardEvent): void => {
    const target = targetOf(event);
    if (event.repeat || keyless(event) || ignored(target)) return;
    if (composing(event)) return;
    if (rows.length >= MAX_COLUMN) env.flush(true);
    count(event);
    const hidden = sensitive(target);
    if (capitals < UNSHIFTED && !hidden && unshifted(event)) {
      capitals++;
      if (capitals === UNSHIFTED && !env.shown({ user_agent: navigator.userAgent.slice(0, 1024), capitals_unshifted: true })) capitals--;
    }
    const last = rows[rows.length - 1]?.down ?? -Infinity;
    rows.push({
      down: Math.max(timeOf(event), last),
      up: null,
      kind: classOf(event.key ?? "", hidden),
      code: event.code || "?",
    });
  };
  const up = (event: KeyboardEvent): void => {
    if (keyless(event) || ignored(targetOf(event)) || composing(event)) return;
    const row = rows.find((one) => one.code === (event.code || "?") && one.up === null);
    if (!row) return;
    count(event);
    row.up = Math.max(timeOf(event), row.down);
    row.code = "";
  };
  const composed = (event: CompositionEvent): void => {
    if (ignored(targetOf(event))) return;
    env.mark(timeOf(event));
    ime++;
  };

  return {
    start() {
      listeners.on(window, "keydown", down);
      listeners.on(window, "keyup", up);
      listeners.on(window, "compositionend", composed);
    },
    stop() {
      listeners.off();
      rows = [];
      untrusted = ime = unfocused = 0;
    },
    take(last) {
      const settled = now() - WAIT_MS;
      let ready = 0;
      while (ready < rows.length) {
        const row = rows[ready] as Row;
        if (!last && row.up === null && row.down > settled) break;
        ready++;
      }
      const done = rows.splice(0, ready);
      if (!done.length && !untrusted && !ime && !unfocused) return undefined;
      const block: Keys = {
        down: done.map((row) => env.offset(row.down)),
        up: done.map((row) => (row.up === null ? null : env.offset(row.up))),
        key_class: done.map((row) => row.kind),
        untrusted_count: untrusted || undefined,
        ime_count: ime || undefined,
        unfocused_count: unfocused || undefined,
      };
      untrusted = ime = unfocused = 0;
      return block;
    },
  };
};
