/** Scroll positions of the document or of whatever element was scrolled. */

import type { Scroll } from "./contract.js";
import { ignored, Listeners, MAX_COLUMN, px, timeOf, type Env, type Family } from "./env.js";

export const scroll = (env: Env): Family<Scroll> => {
  const listeners = new Listeners(env);
  let t: number[] = [];
  let x: number[] = [];
  let y: number[] = [];

  const clear = (): void => {
    t = [];
    x = [];
    y = [];
  };
  const moved = (event: Event): void => {
    const target = event.target;
    if (ignored(target)) return;
    if (t.length >= MAX_COLUMN) env.flush();
    const time = timeOf(event);
    env.mark(time);
    t.push(time);
    const element = target instanceof Element ? target : null;
    x.push(px(element ? element.scrollLeft : scrollX));
    y.push(px(element ? element.scrollTop : scrollY));
  };

  return {
    start() {
      listeners.on(window, "scroll", moved);
    },
    stop() {
      listeners.off();
      clear();
    },
    take() {
      if (!t.length) return undefined;
      const block: Scroll = { t: t.map(env.offset), x, y };
      clear();
      return block;
    },
  };
};
