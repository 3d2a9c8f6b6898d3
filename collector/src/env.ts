/** What every family of behaviour shares: the clock, guarded listeners, and what may not be looked at. */

import type { Device } from "./contract.js";

/** Samples a column may hold before its event is closed early; the contract allows 4096. */
export const MAX_COLUMN = 800;

/** One family of behaviour: it gathers between `start` and `stop`, and gives what it has when an event is made. */
export interface Family<Block> {
  start(): void;
  /** Stop and forget. */
  stop(): void;
  /** What was gathered since the last time, or nothing. `last`: nothing will come after it. */
  take(last: boolean): Block | undefined;
}

export interface Env {
  /** Run `work`; its error is counted and told to `onError`, never thrown. */
  guard<T>(work: () => T): T | undefined;
  /** A sample of time `t` (page time) is about to be kept: opens the event, and schedules its end. */
  mark(t: number): void;
  /** Hand over a fact of the browser that its input has shown; whether that is agreed to. */
  shown(fact: Device): boolean;
  /** Make the event of what was gathered, now; `all`: also of what waits for something. */
  flush(all?: boolean): void;
  /** Page time as ms from the open event's start, to 0.1 ms, within the contract's range. */
  readonly offset: (t: number) => number;
}

/** Page time, ms: the clock of `Event.timeStamp`. */
export const now = (): number => performance.now();

/** The event's own time where it can be true, else now. A script may set any. */
export const timeOf = (event: { timeStamp: number }): number => {
  const current = now();
  const t = event.timeStamp;
  return t <= current + 50 && t > current - 10_000 ? t : current;
};

/** To a thousandth: no device pixel is finer. */
export const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Contract's range of positions. */
export const px = (value: number): number => round(Math.max(-1e6, Math.min(1e6, value || 0)));

/** A set of listeners that can be removed, each guarded, none of which can hold the page up. */
export class Listeners {
  private all: (() => void)[] = [];

  constructor(private env: Pick<Env, "guard">) {}

  on<E extends Event>(target: EventTarget, types: string, listener: (event: E) => void): void {
    const guarded = (event: Event): void => {
      this.env.guard(() => listener(event as E));
    };
    const options = { capture: true, passive: true };
    for (const type of types.split(" ")) {
      target.addEventListener(type, guarded, options);
      this.all.push(() => target.removeEventListener(type, guarded, options));
    }
  }

  off(): void {
    for (const remove of this.all.splice(0)) this.env.guard(remove);
  }
}

/** Where an event began, also inside open shadow roots. The path is made only there: it is dear on every move. */
export const targetOf = (event: Event): EventTarget | null => {
  const target = event.target;
  return target instanceof Element && target.shadowRoot ? (event.composedPath()[0] ?? target) : target;
};

let lastTarget: EventTarget | null = null;
let lastHidden = false;

/** Whether the target lies in an element that the page excluded: `data-tellwire-ignore`, across shadow roots. */
export const ignored = (target: EventTarget | null): boolean => {
  if (target === lastTarget) return lastHidden;
  lastTarget = target;
  lastHidden = false;
  let node: Node | null = target instanceof Node ? target : null;
  while (node && !lastHidden) {
    const element: Element | null = node instanceof Element ? node : node.parentElement;
    lastHidden = !!element?.closest("[data-tellwire-ignore]");
    const root: Node | undefined = element?.getRootNode();
    node = root instanceof ShadowRoot ? root.host : null;
  }
  return lastHidden;
};
