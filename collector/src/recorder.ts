/** One session's recorder: opens events, closes them every half second, and keeps to what the person agreed to. */

import type { Capture, Device, TelemetryEvent } from "./contract.js";
import { now, type Env, type Family } from "./env.js";
import { focus } from "./focus.js";
import { form } from "./form.js";
import { json, sizeOf } from "./json.js";
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
/** Sessions of a tab whose numbers are remembered. */
const MAX_STORED = 16;
/** An event larger than this is made into several, block by block: browsers let a page that goes away send 64 KiB. */
const MAX_EVENT_BYTES = 28_000;

type Blocks = Omit<
  TelemetryEvent,
  "type" | "event_id" | "session_id" | "nonce" | "sequence" | "effective_at" | "collector" | "viewport"
>;

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
  /** Device facts that are still being read, and how many of them were told. */
  private reading: Device = {};
  private told = 0;
  /** Device facts that input has shown since the last event. */
  private seen: Device | undefined;
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
      if (need === "device" && !granted) {
        delete this.facts.device;
        this.reading = {};
        this.seen = undefined;
      }
      if (need === "camera" && !granted) {
        delete this.facts.capture;
        // What the camera's part keeps goes, too.
        for (const ask of this.askedBefore) this.guard(ask);
      }
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
    if (facts.device) this.reading = {};
    Object.assign(this.facts, facts);
  }

  shown(fact: Device): boolean {
    if (!this.allows("device")) return false;
    this.seen = { ...this.seen, ...fact };
    return true;
  }

  /** Facts are being read into `device`: the next event tells what is there by then, and the last one what came since. */
  reads(device: Device): void {
    this.reading = device;
    this.told = 0;
  }

  before(ask: () => void): void {
    this.askedBefore.push(ask);
  }

  mark(t: number): void {
    if (this.base !== undefined || this.busy) return;
    this.open(t);
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
        if (this.base === undefined) this.open(now());
        const blocks = this.blocks(last, end);
        if (Object.keys(blocks).length && Object.keys(this.consent).length) this.queue(blocks);
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

  /** A machine that slept, or whose clock was set, parts the clocks: what is open keeps the time that it began with. */
  private open(t: number): void {
    this.base = t;
    const drift = Date.now() - this.origin - now();
    if (Math.abs(drift) > CLOCK_STEP_MS) this.origin += drift;
  }

  private effectiveAt(): number {
    return Math.floor(this.origin + (this.base as number));
  }

  private blocks(last: boolean, end?: EndReason): Blocks {
    const blocks: Blocks = {};
    for (const [name, family] of Object.entries(this.families)) {
      const block = family.take(last);
      if (block) (blocks as Record<string, object>)[name] = block;
    }
    const device = this.facts.device ?? this.soFar(last) ?? (this.seen && { partial: true });
    Object.assign(blocks, this.facts, device && { device: { ...device, ...this.seen } });
    this.facts = {};
    this.seen = undefined;
    if (end) blocks.end = { reason: end };
    return blocks;
  }

  private soFar(last: boolean): Device | undefined {
    const known = Object.values(this.reading).filter((fact) => fact !== undefined).length;
    if (known <= this.told || (this.told && !last)) return undefined;
    this.told = known;
    return { ...this.reading, partial: true };
  }

  /** Queue one event of these blocks, or several where it would be too large. */
  private queue(blocks: Blocks): void {
    const needs = (name: string): string | undefined =>
      BEHAVIOUR.some((one) => one === name) ? "behaviour" : name === "capture" ? "camera" : name === "end" ? undefined : name;
    const assistive = !this.events && this.options.assistiveTechnology ? { assistive_technology: true } : undefined;
    if (blocks.device) Object.assign(blocks.device, assistive);
    const told = Object.entries(blocks).map(([name, block]) => ({ name, text: json(block), need: needs(name) }));
    while (told.length) {
      let bytes = 0;
      const large = told.findIndex(({ text }, at) => (bytes += sizeOf(text)) > MAX_EVENT_BYTES && at > 0);
      const parts = told.splice(0, large < 0 ? told.length : large);
      // Only what the app declared itself: it needs no consent, and goes along with whatever is sent first.
      if (assistive && !this.events && !blocks.device) parts.push({ name: "device", text: json(assistive), need: undefined });
      this.send(parts);
    }
  }

  private send(parts: { name: string; text: string; need: string | undefined }[]): void {
    const { session } = this.options;
    // Another page of this tab may have gone on meanwhile: a page that comes back out of the cache goes on behind it.
    const sequence = Math.max(this.sequence ?? 0, this.remembered());
    const needs = new Set(parts.flatMap(({ need }) => need ?? []));
    const seen = needs.has("behaviour") || needs.has("device");
    const viewport = { width_px: innerWidth, height_px: innerHeight, device_pixel_ratio: devicePixelRatio };
    const head: Partial<TelemetryEvent> = {
      type: "capture.telemetry.v1",
      event_id: identifier(),
      session_id: session.session_id,
      nonce: session.nonce,
      sequence,
      effective_at: this.effectiveAt(),
      collector: { name: "tellwire-web", version: VERSION, sampling_interval_ms: SAMPLING_INTERVAL_MS },
      ...(seen ? { viewport } : {}),
    };
    this.events++;
    this.sequence = sequence + 1;
    this.remember();
    const text = `${json(head).slice(0, -1)}${parts.map((part) => `,"${part.name}":${part.text}`).join("")}}`;
    this.sender.add({ text, at: head.effective_at as number, needs });
  }

  /** The numbers of this tab's sessions, which go on over its pages: newest last. */
  private stored(): [string, number][] {
    try {
      const all: unknown = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
      return (all as unknown[]).filter((one): one is [string, number] => Array.isArray(one) && Number.isInteger(one[1]));
    } catch {
      // No storage, or somebody else's words in it.
      return [];
    }
  }

  private remembered(): number {
    return this.stored().find(([id]) => id === this.options.session.session_id)?.[1] ?? 0;
  }

  private remember(): void {
    const { session_id } = this.options.session;
    const others = this.stored().filter(([id]) => id !== session_id);
    try {
      sessionStorage.setItem(STORED, json([...others, [session_id, this.sequence]].slice(-MAX_STORED)));
    } catch {
      // Without storage a session is one page long.
    }
  }
}

/** 122 random bits; also where the page is no secure context. */
const identifier = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
};
