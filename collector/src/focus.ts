/** Changes of focus and visibility. */

import { FocusKind, type Focus } from "./contract.js";
import { ignored, Listeners, MAX_COLUMN, now, targetOf, timeOf, type Env, type Family } from "./env.js";
import { fieldOf } from "./fields.js";

export const focus = (env: Env): Family<Focus> => {
  const listeners = new Listeners(env);
  let t: number[] = [];
  let kind: number[] = [];

  const add = (time: number, code: FocusKind): void => {
    if (t.length >= MAX_COLUMN) env.flush();
    env.mark(time);
    t.push(Math.max(time, t[t.length - 1] ?? -Infinity));
    kind.push(code);
  };
  const visibility = (time: number): void =>
    add(time, document.visibilityState === "hidden" ? FocusKind.HIDDEN : FocusKind.VISIBLE);

  return {
    start() {
      if (document.visibilityState === "hidden") visibility(now());
      listeners.on(document, "visibilitychange", (event) => visibility(timeOf(event)));
      listeners.on(window, "focus blur", (event) => {
        if (event.target === window) add(timeOf(event), event.type === "focus" ? FocusKind.FOCUS : FocusKind.BLUR);
      });
      listeners.on(window, "focusin focusout", (event) => {
        const target = targetOf(event);
        if (!fieldOf(target) || ignored(target)) return;
        add(timeOf(event), event.type === "focusin" ? FocusKind.FIELD_FOCUS : FocusKind.FIELD_BLUR);
      });
    },
    stop() {
      listeners.off();
      t = [];
      kind = [];
    },
    take() {
      if (!t.length) return undefined;
      const block: Focus = { t: t.map(env.offset), kind };
      t = [];
      kind = [];
      return block;
    },
  };
};
