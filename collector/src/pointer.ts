/** Pointer samples: every one that the browser has, also those that it coalesced into one event. */

import { PointerKind, type Pointer } from "./contract.js";
import { ignored, Listeners, MAX_COLUMN, px, targetOf, timeOf, type Env, type Family } from "./env.js";

/** Shortest time between two moves that are kept, ms: a 1 kHz mouse is kept whole, a faster one is thinned. */
export const SAMPLING_INTERVAL_MS = 0.5;

/** A click handed on comes at once. */
const HANDED_ON_MS = 50;

type PointerType = NonNullable<Pointer["pointer_type"]>;

const TYPES = ["mouse", "pen", "touch"];
/** DOM button number to the contract's: left, middle, right. */
const BUTTONS = [1, 3, 2];
const CONTROL = "button,a,input,select,textarea,label,summary,option,[role=button],[role=link]";

export const pointer = (env: Env): Family<Pointer> => {
  const listeners = new Listeners(env);
  let t: number[] = [];
  let x: number[] = [];
  let y: number[] = [];
  let kind: number[] = [];
  let button: number[] = [];
  let clicks: number[] = [];
  let untrusted = 0;
  let coalesced = 0;
  let type: PointerType = "unknown";
  let lastMove = -1e9;
  let pressed = false;
  let clickedAt = -1e9;

  const clear = (): void => {
    t = [];
    x = [];
    y = [];
    kind = [];
    button = [];
    clicks = [];
    untrusted = coalesced = 0;
  };
  const add = (event: MouseEvent, time: number, code: number, pressedButton: number): void => {
    if (t.length >= MAX_COLUMN) env.flush();
    env.mark(time);
    // Late samples of a busy page arrive in order; a script's own times need not.
    t.push(Math.max(time, t[t.length - 1] ?? -Infinity));
    x.push(px(event.clientX));
    y.push(px(event.clientY));
    kind.push(code);
    button.push(pressedButton);
    if (!event.isTrusted) untrusted++;
  };
  /** A block speaks of one kind of device: another one begins another event. */
  const become = (event: PointerEvent): void => {
    const next = (TYPES.includes(event.pointerType) ? event.pointerType : "unknown") as PointerType;
    if (next === type) return;
    if (t.length) env.flush();
    type = next;
  };
  const held = (buttons: number): number => (buttons & 1 ? 1 : buttons & 2 ? 2 : buttons & 4 ? 3 : 0);

  const move = (event: PointerEvent): void => {
    if (ignored(targetOf(event))) return;
    become(event);
    const list = event.getCoalescedEvents?.();
    const counts = list !== undefined && list.length > 1;
    const samples = counts ? list : [event];
    // What a busy page gets late keeps its time; a time that cannot be true is moved with its event.
    const shift = timeOf(event) - event.timeStamp;
    for (const sample of samples) {
      const time = Math.min(sample.timeStamp, event.timeStamp) + shift;
      if (time >= lastMove && time - lastMove < SAMPLING_INTERVAL_MS) continue;
      lastMove = time;
      add(sample, time, event.buttons ? PointerKind.DRAG : PointerKind.MOVE, held(event.buttons));
      if (counts) coalesced++;
    }
  };
  const press = (event: PointerEvent): void => {
    const down = event.type === "pointerdown";
    if (ignored(targetOf(event))) {
      pressed = true;
      return;
    }
    become(event);
    if (down) pressed = true;
    add(event, timeOf(event), down ? PointerKind.DOWN : PointerKind.UP, BUTTONS[event.button] ?? 0);
  };
  const click = (event: PointerEvent): void => {
    const target = targetOf(event);
    const came = pressed;
    pressed = false;
    // Neither a key's click on a focused control nor an app's own `element.click()` points anywhere.
    if (ignored(target) || (event.detail === 0 && (event.isTrusted || (!event.clientX && !event.clientY)))) return;
    const time = timeOf(event);
    // A label hands its click on to its field: that is one click.
    if (!came && event.isTrusted && time - clickedAt < HANDED_ON_MS) return;
    clickedAt = time;
    if (!came) add(event, time, PointerKind.CLICK, 1);
    const control = target instanceof Element ? (target.closest(CONTROL) ?? target) : null;
    if (!control || clicks.length >= 256) return;
    const box = control.getBoundingClientRect();
    env.mark(time);
    clicks.push(px(Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2)));
  };
  const wheel = (event: WheelEvent): void => {
    if (!ignored(targetOf(event))) add(event, timeOf(event), PointerKind.WHEEL, 4);
  };
  /** Pointer events come with mouse events; only a script sends mouse events alone. */
  const mouse = (event: MouseEvent): void => {
    if (event.isTrusted || ignored(targetOf(event))) return;
    pressed = true;
    add(event, timeOf(event), event.type === "mousedown" ? PointerKind.DOWN : PointerKind.UP, BUTTONS[event.button] ?? 0);
  };

  return {
    start() {
      listeners.on(window, "pointermove", move);
      listeners.on(window, "pointerdown pointerup pointercancel", press);
      listeners.on(window, "click auxclick", click);
      listeners.on(window, "wheel", wheel);
      listeners.on(window, "mousedown mouseup", mouse);
    },
    stop() {
      listeners.off();
      clear();
    },
    take() {
      if (!t.length && !clicks.length) return undefined;
      const block: Pointer = { t: t.map(env.offset), x, y, pointer_type: type };
      if (kind.some(Boolean)) block.kind = kind;
      if (button.some(Boolean)) block.button = button;
      if (untrusted) block.untrusted_count = untrusted;
      if ("getCoalescedEvents" in PointerEvent.prototype) block.coalesced_count = coalesced;
      if (clicks.length) block.click_offset_px = clicks;
      clear();
      return block;
    },
  };
};
