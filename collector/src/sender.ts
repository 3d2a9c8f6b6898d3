/**
 * The way to the gateway: events in order, one request at a time, each event until it is acknowledged or refused.
 *
 * An event never changes once it is made, and its repeat counts once (`event_id`, `sequence`): so whatever is unclear
 * is sent again.
 */

import { json, sizeOf } from "./json.js";
import type { SessionGrant } from "./options.js";

/** Events that go together, unless one alone is longer. */
const MAX_BODY_BYTES = 30_000;
/** Browsers bound beacons and kept-alive requests in flight to 64 KiB together; what is beyond goes as a plain request. */
const MAX_KEPT_BYTES = 64_000;
const MAX_EVENTS = 16;
/** What waits is bounded; beyond it the oldest goes, which shows as a gap in `sequence`. */
const MAX_QUEUE_EVENTS = 256;
const MAX_QUEUE_BYTES = 2_000_000;
/** Older events are refused. */
const MAX_AGE_MS = 9 * 60_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Longest wait for an answer of the gateway, or of the page's `renew`. */
const TIMEOUT_MS = 20_000;
/** Renewals that may fail one after the other. */
const MAX_RENEWALS = 5;

/** One event, as it will be sent. */
export interface Waiting {
  text: string;
  at: number;
  /** What consent it needs: thrown away when that is withdrawn. */
  needs: ReadonlySet<string>;
  /** Was sent while the page went away: nobody may have learnt whether it arrived. */
  left?: boolean;
}

/** What the browser gives, so that tests can give something else. */
export interface Outside {
  fetch(url: string, init: RequestInit): Promise<Response>;
  /** Only where a fetch cannot outlive its page: a beacon takes cookies along, and the page's address. */
  beacon?: ((url: string, body: string) => boolean) | undefined;
  /** Epoch ms. */
  clock(): number;
  /** 0 to 1. */
  random(): number;
  later(work: () => void, ms: number): unknown;
  cancel(timer: unknown): void;
}

export class Sender {
  sent = 0;
  dropped = 0;
  stopped: string | undefined;
  private queue: Waiting[] = [];
  private bytes = 0;
  /** Events of the queue's head that are in a request. */
  private flying = 0;
  private timer: unknown;
  private failures = 0;
  private most = MAX_EVENTS;
  private token: string;
  private renewed = false;
  private failedRenewals = 0;
  /** Bytes of kept-alive bodies in flight. */
  private kept = 0;

  constructor(
    private grant: SessionGrant,
    private out: Outside,
    private deviceRef?: string,
    private renew?: () => Promise<string>,
  ) {
    this.token = grant?.token;
  }

  get waiting(): number {
    return this.queue.length;
  }

  add(event: Waiting): void {
    if (this.stopped) {
      this.dropped++;
      return;
    }
    this.queue.push(event);
    this.bytes += sizeOf(event.text);
    while (this.queue.length > this.flying + 1 && (this.queue.length > MAX_QUEUE_EVENTS || this.bytes > MAX_QUEUE_BYTES)) {
      this.remove(this.flying, 1);
      this.dropped++;
    }
    this.send();
  }

  /** Throw away what waits under a consent that was withdrawn; what is in a request goes on. */
  withdraw(need: string): void {
    for (let at = this.queue.length - 1; at >= this.flying; at--) {
      if (this.queue[at]?.needs.has(need)) {
        this.remove(at, 1);
        this.dropped++;
      }
    }
  }

  /**
   * The page may go away: send what does not fly yet, as far as the browser lets it outlive the page. Nobody may learn
   * whether it arrived, so all of it stays in the queue, and is sent again if the page lives on.
   */
  leave(): void {
    if (this.stopped) return;
    let rest = this.queue.slice(this.flying).filter((event) => !event.left);
    while (rest.length) {
      const group = this.fitting(rest);
      rest = rest.slice(group.length);
      // What is too large for the room that is left holds nothing else up.
      if (!this.away(group)) for (const one of group) this.away([one]);
    }
  }

  /** End sending; what waits is thrown away. */
  stop(why: string): void {
    this.stopped ??= why;
    this.out.cancel(this.timer);
    this.dropped += this.queue.length;
    this.queue = [];
    this.bytes = this.flying = 0;
  }

  private remove(from: number, count: number): void {
    for (const gone of this.queue.splice(from, count)) this.bytes -= sizeOf(gone.text);
  }

  /** The first of `events` that go together: at least one. */
  private fitting(events: Waiting[]): Waiting[] {
    let bytes = 0;
    const large = events.slice(0, this.most).findIndex((event, at) => (bytes += sizeOf(event.text)) > MAX_BODY_BYTES && at > 0);
    return events.slice(0, large < 0 ? this.most : large);
  }

  private body(events: Waiting[]): string {
    const head = json({ token: this.token, sent_at: this.out.clock(), device_ref: this.deviceRef });
    return `${head.slice(0, -1)},"events":[${events.map((event) => event.text).join()}]}`;
  }

  private away(events: Waiting[]): boolean {
    const body = this.body(events);
    if (this.out.beacon) {
      if (!this.out.beacon(this.grant.endpoint, body)) return false;
    } else {
      if (this.kept + sizeOf(body) > MAX_KEPT_BYTES) return false;
      void this.request(body).catch(() => undefined);
    }
    for (const event of events) event.left = true;
    return true;
  }

  private send(): void {
    if (this.stopped || this.flying || this.timer !== undefined) return;
    const oldest = this.out.clock() - MAX_AGE_MS;
    while (this.queue[0] && this.queue[0].at < oldest) {
      this.remove(0, 1);
      this.dropped++;
    }
    if (!this.queue.length) return;
    const head = this.fitting(this.queue);
    this.flying = head.length;
    void this.post(this.body(head)).then((wait) => {
      this.flying = 0;
      if (this.stopped) return;
      if (wait === undefined) {
        this.failures = 0;
        this.send();
      } else this.pause(wait);
    });
  }

  /** Fetch, to outlive the page where there is room for that. */
  private async request(body: string, signal: AbortSignal | null = null): Promise<Response> {
    const bytes = sizeOf(body);
    // Others of the page may have taken the room, which looks like a network that is down: then every other try is plain.
    const keepalive = this.kept + bytes <= MAX_KEPT_BYTES && this.failures % 2 === 0;
    if (keepalive) this.kept += bytes;
    try {
      return await this.out.fetch(this.grant.endpoint, {
        method: "POST",
        body,
        headers: { "Content-Type": "text/plain;charset=UTF-8" },
        credentials: "omit",
        cache: "no-store",
        referrerPolicy: "no-referrer",
        keepalive,
        signal,
      });
    } finally {
      if (keepalive) this.kept -= bytes;
    }
  }

  /** Post the head of the queue and act on the answer; how long to wait before the next try, undefined: none. */
  private async post(body: string): Promise<number | undefined> {
    const abort = new AbortController();
    const timer = this.out.later(() => abort.abort(), TIMEOUT_MS);
    let status = 0;
    let answer: { accepted?: number; code?: string; retry_after_s?: number; refused?: unknown[] } = {};
    let after: string | null = null;
    let date: string | null = null;
    try {
      const response = await this.request(body, abort.signal);
      status = response.status;
      after = response.headers.get("Retry-After");
      date = response.headers.get("Date");
      answer = ((await response.json()) ?? {}) as typeof answer;
    } catch {
      // No answer, or one without a body: the status says what to do.
    }
    this.out.cancel(timer);
    if (this.stopped) return undefined;
    const count = this.flying;
    // Anybody between may say 200: only the gateway says how many it has.
    if (status >= 200 && status < 300 && typeof answer.accepted === "number") {
      const refused = answer.refused?.length ?? 0;
      this.sent += count - refused;
      return this.finish(count, refused);
    }
    if (status === 400 || status === 422) return this.finish(count, count);
    if (status === 413) {
      if (count === 1) return this.finish(count, count);
      this.most = Math.ceil(count / 2);
      return undefined;
    }
    if (status === 401 && answer.code === "token_expired" && this.renew && !this.renewed) {
      if (await this.renewal(this.renew)) return undefined;
      if (++this.failedRenewals < MAX_RENEWALS) return 0;
    }
    if (status >= 400 && status < 500 && ![408, 425, 429].includes(status)) {
      this.stop(answer.code ?? `HTTP ${status}`);
      return undefined;
    }
    return this.asked(answer.retry_after_s ?? after, date);
  }

  /** Ask the page for a new token; whether there is one. */
  private async renewal(renew: () => Promise<string>): Promise<boolean> {
    let timer: unknown;
    try {
      const late = new Promise<undefined>((resolve) => (timer = this.out.later(() => resolve(undefined), TIMEOUT_MS)));
      const token: unknown = await Promise.race([renew(), late]);
      if (typeof token !== "string" || !token) return false;
      this.token = token;
      this.failedRenewals = 0;
      return (this.renewed = true);
    } catch {
      return false;
    } finally {
      this.out.cancel(timer);
    }
  }

  /** What `Retry-After` asks for, ms: seconds, or a date by the clock of whoever answered, where that can be read. */
  private asked(after: number | string | null, date: string | null): number {
    const seconds = Number(after ?? 0);
    const until = Number.isNaN(seconds) ? Date.parse(String(after)) - (Date.parse(date ?? "") || this.out.clock()) : seconds * 1000;
    return Math.max(0, Math.min(until || 0, 600_000));
  }

  private finish(count: number, lost: number): undefined {
    this.remove(0, count);
    this.dropped += lost;
    this.renewed = false;
  }

  private pause(asked: number): void {
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.failures++, LONGEST_WAIT_MS);
    // Never sooner than asked; beyond that scattered, so that browsers do not come back all at once.
    const ms = asked + wait * (0.5 + this.out.random() / 2);
    this.timer = this.out.later(() => {
      this.timer = undefined;
      this.send();
    }, ms);
  }
}
