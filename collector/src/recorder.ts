/** One session's recorder: opens events, closes them every half second, and keeps to what the person agreed to. */

import type { Capture, Device, TelemetryEvent } from "./contract.js";
import { now, type Env, type Family } from "./env.js";
import { focus } from "./focus.js";
import { form } from "./form.js";
import { keys } from "./keys.js";
import { motion } from "./motion.js";
import type { Consent, EndReason, Options, Stats } from "./options.js";
import { pointer, SAMPLING_INTERVAL_MS } from "./pointer.js";
import { scroll } from "./scroll.js";
import { Sender, type Outside } from "./sender.js";
import { touch } from "./touch.js";

declare const VERSION: string;

const BEHAVIOUR = ["pointer", "touch", "scroll", "keys", "form", "focus"] as const;
type Need = keyof Consent;
const NEEDS: readonly Need[] = ["behaviour", "device", "camera", "motion"];
/** Clocks that part by so much did so in a suspended machine, ms. */
const CLOCK_STEP_MS = 2000;
/** Own errors after which the collector gives up. */
const MAX_ERRORS = 20;
const STORED = "tellwire";

/** Blocks that are handed over ready, and taken by the next event. */
interface Facts {
  device?: Device | undefined;
  capture?: Capture | undefined;
}

export class Recorder implements Env {
  readonly form = form(this);
  readonly sender: Sender;
  ended = false;
  private consent: Consent = {};
  private families: Record<string, Family<object>> = {
    pointer: pointer(this),
    touch: touch(this),
    scroll: scroll(this),
    keys: keys(this),
    form: this.form,
    focus: focus(this),
    motion: motion(this),
  };
  private facts: Facts = {};
  /** What else has something to say when an event is made; it must not call back. */
  private askedBefore: (() => void)[] = [];
  private events = 0;
  private errors = 0;
  private sequence: number | undefined;
  private base: number | undefined;
  private origin = Date.now() - now();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private busy = false;

  constructor(
    private options: Options,
    outside: Outside,
  ) {
    this.sender = new Sender(options.session, outside, options.deviceRef, options.renew);
  }

  guard<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.failed(error);
      return undefined;
    }
  }

  failed(error: unknown): void {
    try {
      this.options.onError?.(error);
    } catch {
      // The page's own handler is the page's own affair.
    }
    if (++this.errors >= MAX_ERRORS) this.stop("errors");
  }

  stats(): Stats {
    const { sent, waiting, dropped, stopped } = this.sender;
    const known = { events: this.events, sent, queued: waiting, dropped, errors: this.errors };
    return stopped ? { ...known, stopped } : known;
  }

  allows(need: Need): boolean {
    return !this.ended && this.consent[need] === true;
  }

  agree(consent: Consent): void {
    if (this.ended) return;
    const before = this.consent;
    this.consent = {};
    for (const need of NEEDS) if (consent?.[need] === true) this.consent[need] = true;
    for (const need of NEEDS) {
      if (before[need] === this.consent[need]) continue;
      const granted = this.consent[need] === true;
      if (!granted) this.sender.withdraw(need);
      if (need === "device" && !granted) delete this.facts.device;
      if (need === "camera" && !granted) delete this.facts.capture;
      const names = need === "behaviour" ? BEHAVIOUR : need === "motion" ? ["motion"] : [];
      for (const name of names) {
        const family = this.families[name];
        this.guard(() => (granted ? family?.start() : family?.stop()));
      }
    }
  }

  /** Hand over facts for the next event. */
  tell(facts: Facts): void {
    if (this.ended) return;
    this.mark(now());
    Object.assign(this.facts, facts);
  }

  before(ask: () => void): void {
    this.askedBefore.push(ask);
  }

  mark(t: number): void {
    if (this.base !== undefined || this.busy) return;
    this.base = t;
    this.timer = setTimeout(() => this.flush(), Math.max(100, Math.min(this.options.batchMs ?? 500, 5000)));
  }

  /** A property, not a method: families map their columns with it. */
  readonly offset = (t: number): number => {
    const ms = Math.max(-60_000, Math.min(600_000, this.origin + t - this.effectiveAt()));
    return Math.round(ms * 10) / 10;
  };

  /** Make an event of what was gathered; `last`: nothing will follow. `end`: why the session is over. */
  flush(last = false, end?: EndReason): void {
    if (this.busy || this.ended) return;
    this.guard(() => {
      this.busy = true;
      try {
        clearTimeout(this.timer);
        for (const ask of this.askedBefore) ask();
        if (this.base === undefined && !end && !last) return;
        this.base ??= now();
        const drift = Date.now() - this.origin - now();
        if (Math.abs(drift) > CLOCK_STEP_MS) this.origin += drift;
        const event = this.event(last, end);
        if (event) this.queue(event);
      } finally {
        this.base = undefined;
        this.busy = false;
      }
    });
  }

  stop(why: string): void {
    this.ended = true;
    clearTimeout(this.timer);
    for (const family of Object.values(this.families)) {
      try {
        family.stop();
      } catch {
        // It is over either way.
      }
    }
    this.facts = {};
    this.sender.stop(why);
  }

  /** Say that the session is over, and go quiet; what waits is still sent. */
  end(reason: EndReason): void {
    this.flush(true, reason);
    this.ended = true;
    for (const family of Object.values(this.families)) this.guard(() => family.stop());
  }

  private effectiveAt(): number {
    return Math.floor(this.origin + (this.base as number));
  }

  private event(last: boolean, end?: EndReason): TelemetryEvent | undefined {
    const { session, assistiveTechnology } = this.options;
    const blocks: Partial<TelemetryEvent> = {};
    for (const [name, family] of Object.entries(this.families)) {
      const block = family.take(last);
      if (block) (blocks as Record<string, object>)[name] = block;
    }
    Object.assign(blocks, this.facts);
    this.facts = {};
    if (BEHAVIOUR.some((name) => blocks[name])) {
      blocks.viewport = { width_px: innerWidth, height_px: innerHeight, device_pixel_ratio: devicePixelRatio };
    }
    if (end) blocks.end = { reason: end };
    if (!Object.keys(blocks).length || !Object.keys(this.consent).length) return undefined;
    // Another page of this tab may have gone on meanwhile: a page that comes back out of the cache goes on behind it.
    const sequence = Math.max(this.sequence ?? 0, this.remembered());
    if (assistiveTechnology && !this.events) blocks.device = { ...blocks.device, assistive_technology: true };
    return {
      type: "capture.telemetry.v1",
      event_id: identifier(),
      session_id: session.session_id,
      nonce: session.nonce,
      sequence,
      effective_at: this.effectiveAt(),
      collector: { name: "tellwire-web", version: VERSION, sampling_interval_ms: SAMPLING_INTERVAL_MS },
      ...blocks,
    };
  }

  private queue(event: TelemetryEvent): void {
    this.events++;
    this.sequence = event.sequence + 1;
    this.remember();
    const needs = new Set<string>();
    if (BEHAVIOUR.some((name) => event[name])) needs.add("behaviour");
    if (event.device) needs.add("device");
    if (event.capture) needs.add("camera");
    if (event.motion) needs.add("motion");
    this.sender.add({ text: JSON.stringify(event), at: event.effective_at, needs });
  }

  /** The session's numbers go on over its pages, in this tab. */
  private remembered(): number {
    try {
      const { id, next } = JSON.parse(sessionStorage.getItem(STORED) ?? "{}") as { id?: unknown; next?: unknown };
      return id === this.options.session.session_id && Number.isInteger(next) ? (next as number) : 0;
    } catch {
      return 0;
    }
  }

  private remember(): void {
    try {
      sessionStorage.setItem(STORED, JSON.stringify({ id: this.options.session.session_id, next: this.sequence }));
    } catch {
      // Without storage a session is one page long.
    }
  }
}

/** 122 random bits; also where the page is no secure context. */
const identifier = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};
