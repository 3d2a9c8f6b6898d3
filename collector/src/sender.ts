/**
 * The way to the gateway: events in order, one request at a time, each event until it is acknowledged or refused.
 *
 * An event never changes once it is made, and its repeat counts once (`event_id`, `sequence`): so whatever is unclear
 * is sent again.
 */

import type { SessionGrant } from "./options.js";

/** Browsers bound beacons and kept-alive requests in flight to 64 KiB together. */
const MAX_BODY_CHARS = 30_000;
/** A single event may be longer. Browsers refuse to keep such a request alive, again and again: it goes as a plain one. */
const MAX_KEPT_CHARS = 40_000;
const MAX_EVENTS = 16;
/** What waits is bounded; beyond it the oldest goes, which shows as a gap in `sequence`. */
const MAX_QUEUE_EVENTS = 256;
const MAX_QUEUE_CHARS = 2_000_000;
/** Older events are refused. */
const MAX_AGE_MS = 9 * 60_000;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
const TIMEOUT_MS = 20_000;

/** One event, as it will be sent. */
export interface Waiting {
  text: string;
  at: number;
  /** What consent it needs: thrown away when that is withdrawn. */
  needs: ReadonlySet<string>;
  beaconed?: boolean;
}

/** What the browser gives, so that tests can give something else. */
export interface Outside {
  fetch(url: string, init: RequestInit): Promise<Response>;
  beacon(url: string, body: string): boolean;
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
  private chars = 0;
  /** Events of the queue's head that are in a request. */
  private flying = 0;
  private timer: unknown;
  private failures = 0;
  private most = MAX_EVENTS;
  private token: string;
  private renewed = false;

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
    this.chars += event.text.length;
    while (this.queue.length > this.flying + 1 && (this.queue.length > MAX_QUEUE_EVENTS || this.chars > MAX_QUEUE_CHARS)) {
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
   * The page may go away: beacon what does not fly yet. Nobody learns whether a beacon arrived, so all of it stays in
   * the queue, and is sent again if the page lives on.
   */
  leave(): void {
    let from = this.flying;
    while (this.queue[from]?.beaconed) from++;
    while (!this.stopped && from < this.queue.length) {
      const count = this.fitting(from);
      if (!this.out.beacon(this.grant.endpoint, this.body(from, count))) return;
      for (const event of this.queue.slice(from, from + count)) event.beaconed = true;
      from += count;
    }
  }

  /** End sending; what waits is thrown away. */
  stop(why: string): void {
    this.stopped ??= why;
    this.out.cancel(this.timer);
    this.dropped += this.queue.length;
    this.queue = [];
    this.chars = this.flying = 0;
  }

  private remove(from: number, count: number): void {
    for (const gone of this.queue.splice(from, count)) this.chars -= gone.text.length;
  }

  private fitting(from: number): number {
    let chars = 0;
    let count = 0;
    for (const event of this.queue.slice(from, from + this.most)) {
      chars += event.text.length;
      if (count && chars > MAX_BODY_CHARS) break;
      count++;
    }
    return count;
  }

  private body(from: number, count: number): string {
    const head = JSON.stringify({ token: this.token, sent_at: this.out.clock(), device_ref: this.deviceRef });
    const events = this.queue.slice(from, from + count).map((event) => event.text);
    return `${head.slice(0, -1)},"events":[${events.join()}]}`;
  }

  private send(): void {
    if (this.stopped || this.flying || this.timer !== undefined) return;
    const oldest = this.out.clock() - MAX_AGE_MS;
    while (this.queue[0] && this.queue[0].at < oldest) {
      this.remove(0, 1);
      this.dropped++;
    }
    if (!this.queue.length) return;
    const count = (this.flying = this.fitting(0));
    void this.post(this.body(0, count)).then((wait) => {
      this.flying = 0;
      if (this.stopped) return;
      if (wait === undefined) {
        this.failures = 0;
        this.send();
      } else this.pause(wait);
    });
  }

  /** Post the head of the queue and act on the answer; how long to wait before the next try, undefined: none. */
  private async post(body: string): Promise<number | undefined> {
    const abort = new AbortController();
    const timer = this.out.later(() => abort.abort(), TIMEOUT_MS);
    let status = 0;
    let answer: { code?: string; retry_after_s?: number; refused?: unknown[] } = {};
    let after: string | null = null;
    try {
      const response = await this.out.fetch(this.grant.endpoint, {
        method: "POST",
        body,
        headers: { "Content-Type": "text/plain;charset=UTF-8" },
        credentials: "omit",
        cache: "no-store",
        referrerPolicy: "no-referrer",
        keepalive: body.length <= MAX_KEPT_CHARS,
        signal: abort.signal,
      });
      status = response.status;
      after = response.headers.get("Retry-After");
      answer = (await response.json()) as typeof answer;
    } catch {
      // No answer, or one without a body: the status says what to do.
    }
    this.out.cancel(timer);
    if (this.stopped) return undefined;
    const count = this.flying;
    if (status >= 200 && status < 300) {
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
      this.renewed = true;
      try {
        this.token = await this.renew();
        return undefined;
      } catch {
        status = 401;
      }
    }
    if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
      this.stop(answer.code ?? `HTTP ${status}`);
      return undefined;
    }
    // Seconds or nothing: the gateway sends no dates.
    return Math.max(0, Math.min(Number(answer.retry_after_s ?? after) || 0, 600)) * 1000;
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
