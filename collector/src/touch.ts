/** Touch contacts with their geometry: touch events go on while a finger scrolls, where pointer events end. */

import type { Touch as Block } from "./contract.js";
import { ignored, Listeners, MAX_COLUMN, px, timeOf, type Env, type Family } from "./env.js";

/** Samples an event may hold: a touch is longer than other samples. */
const MAX_TOUCHES = (MAX_COLUMN * 3) / 4;
const KINDS: Record<string, number> = { touchmove: 0, touchstart: 1, touchend: 2, touchcancel: 3 };

export const touch = (env: Env): Family<Block> => {
  const listeners = new Listeners(env);
  /** Contact numbers of the fingers on the screen; browsers' own identifiers may grow without bound. */
  const slots: (number | undefined)[] = [];
  let rows: number[][] = [];
  let untrusted = 0;

  const slotOf = (identifier: number): number => {
    let slot = slots.indexOf(identifier);
    if (slot < 0) slot = slots.indexOf(undefined);
    if (slot < 0) slot = Math.min(slots.length, 255);
    slots[slot] = identifier;
    return slot;
  };
  const contact = (event: TouchEvent): void => {
    const kind = KINDS[event.type] ?? 0;
    const time = timeOf(event);
    if (kind === 1 && event.isTrusted) {
      // Where a finger's target left the page, its end never came here.
      const here = Array.from(event.touches).map((one) => one.identifier);
      slots.forEach((identifier, slot) => {
        if (identifier !== undefined && !here.includes(identifier)) slots[slot] = undefined;
      });
    }
    for (const one of Array.from(event.changedTouches)) {
      const slot = slotOf(one.identifier);
      if (kind > 1) slots[slot] = undefined;
      if (ignored(one.target)) continue;
      if (rows.length >= MAX_TOUCHES) env.flush();
      env.mark(time);
      const radius = ((one.radiusX || 0) + (one.radiusY || 0)) / 2;
      rows.push([time, px(one.clientX), px(one.clientY), kind, slot, px(radius), px(one.force)]);
      if (!event.isTrusted) untrusted++;
    }
  };

  return {
    start() {
      listeners.on(window, "touchstart touchmove touchend touchcancel", contact);
    },
    stop() {
      listeners.off();
      rows = [];
      slots.length = untrusted = 0;
    },
    take() {
      if (!rows.length) return undefined;
      const column = (at: number): number[] => rows.map((row) => row[at] as number);
      const known = (at: number): number[] | undefined => (rows.some((row) => row[at]) ? column(at) : undefined);
      const block: Block = {
        t: column(0).map(env.offset),
        x: column(1),
        y: column(2),
        kind: column(3),
        id: known(4),
        radius_px: known(5),
        force: known(6),
        untrusted_count: untrusted || undefined,
      };
      rows = [];
      untrusted = 0;
      return block;
    },
  };
};
