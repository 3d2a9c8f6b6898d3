// Events reach a gateway that answers anything: in order, each acknowledged once, none changed, and nothing floods it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Sender } from "../src/sender.ts";

const GRANT = { endpoint: "https://gateway.test/v1/telemetry", session_id: "s", nonce: "n", token: "t0" };
const settle = async () => {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
};

/** A browser whose clock, dice and network the test holds. `answer(request)` gives [status, body, headers]. */
class World {
  now = 1_790_000_000_000;
  requests = [];
  beacons = [];
  timers = [];
  answer = () => [200];
  beaconRoom = Infinity;
  dice = () => 1;

  fetch = async (url, init) => {
    const request = { url, init, at: this.now, ...JSON.parse(init.body) };
    this.requests.push(request);
    const [status, body, headers = {}] = await this.answer(request);
    if (status === 0) throw new TypeError("network");
    const told = body ?? { accepted: request.events.length, refused: [] };
    return { status, headers: { get: (name) => headers[name] ?? null }, json: async () => told };
  };
  beacon = (url, body) => {
    if (body.length > this.beaconRoom) return false;
    this.beaconRoom -= body.length;
    this.beacons.push(JSON.parse(body));
    return true;
  };
  clock = () => this.now;
  random = () => this.dice();
  later = (work, ms) => {
    const timer = { work, at: this.now + ms, ms };
    this.timers.push(timer);
    return timer;
  };
  cancel = (timer) => {
    this.timers = this.timers.filter((one) => one !== timer);
  };

  /** Let time pass until the next timer that is no request's own limit. */
  async next() {
    await settle();
    const timer = this.timers.sort((a, b) => a.at - b.at)[0];
    if (!timer) return false;
    this.cancel(timer);
    this.now = Math.max(this.now, timer.at);
    timer.work();
    await settle();
    return true;
  }

  sender(...rest) {
    return new Sender(GRANT, this, ...rest);
  }
}

let made = 0;
const event = (world, needs = ["behaviour"], size = 0) => {
  const text = JSON.stringify({ sequence: made++, padding: "x".repeat(size) });
  return { text, at: world.now, needs: new Set(needs) };
};
const sequences = (requests) => requests.flatMap((one) => one.events.map((each) => each.sequence));

test("one request at a time; what gathers meanwhile goes together", async () => {
  const world = new World();
  const holds = [];
  world.answer = () => new Promise((resolve) => holds.push(resolve));
  const sender = world.sender("dev-1");
  const first = made;
  for (let count = 0; count < 4; count++) sender.add(event(world));
  await settle();
  assert.equal(world.requests.length, 1);
  holds[0]([200]);
  await settle();
  assert.deepEqual(world.requests.map((one) => one.events.length), [1, 3]);
  assert.deepEqual(sequences(world.requests), [first, first + 1, first + 2, first + 3]);
  const { init, token, sent_at, device_ref } = world.requests[1];
  assert.deepEqual([token, sent_at, device_ref], ["t0", world.now, "dev-1"]);
  assert.equal(init.credentials, "omit");
  assert.equal(init.keepalive, true);
  assert.deepEqual(Object.keys(init.headers), ["Content-Type"]);
  holds[1]([200]);
  await settle();
  assert.deepEqual([sender.sent, sender.waiting], [4, 0]);
});

test("requests stay below what browsers keep alive", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  for (let count = 0; count < 60; count++) sender.add(event(world, ["behaviour"], 4000));
  world.answer = () => [200];
  while (await world.next());
  assert.equal(sender.waiting, 0);
  for (const { init, events } of world.requests) {
    assert.ok(init.body.length < 32_000);
    assert.ok(events.length <= 16);
  }
});

test("an event beyond the bound of a request goes alone", async () => {
  const world = new World();
  const sender = world.sender();
  sender.add(event(world, ["behaviour"], 39_000));
  await settle();
  assert.deepEqual([world.requests.length, sender.sent], [1, 1]);
  assert.equal(world.requests[0].init.keepalive, true);
});

test("an event that no browser keeps alive does not hold up the others", async () => {
  const world = new World();
  const fetch = world.fetch;
  // As browsers do: more than 64 KiB of kept-alive bodies is a network error, each time anew.
  world.fetch = (url, init) => (init.keepalive && init.body.length > 65_536 ? Promise.reject(new TypeError()) : fetch(url, init));
  const sender = world.sender();
  sender.add(event(world, ["behaviour"], 80_000));
  sender.add(event(world));
  await settle();
  assert.deepEqual([sender.sent, sender.waiting], [2, 0]);
});

for (const [name, answer] of [
  ["503 with Retry-After", [503, {}, { "Retry-After": "7" }]],
  ["429 with the body's word", [429, { retry_after_s: 7 }]],
]) {
  test(`${name}: the same events, not before it says`, async () => {
    const world = new World();
    const began = world.now;
    world.dice = () => 0;
    world.answer = () => answer;
    const sender = world.sender();
    sender.add(event(world));
    await settle();
    sender.add(event(world));
    await settle();
    assert.equal(world.requests.length, 1);
    world.answer = () => [200];
    await world.next();
    assert.ok(world.now >= began + 7000);
    const [first, second] = world.requests;
    assert.deepEqual(second.events[0], first.events[0]);
    assert.equal(sender.waiting, 0);
  });
}

test("without a word the waits double, scattered, up to a bound", async () => {
  const world = new World();
  world.answer = (request) => [request.events.length % 2 ? 0 : 500];
  const sender = world.sender();
  sender.add(event(world));
  const waits = [];
  for (let turn = 0; turn < 9; turn++) {
    await settle();
    waits.push(world.timers.map((one) => one.ms)[0]);
    await world.next();
  }
  assert.deepEqual(waits.slice(0, 6), [1000, 2000, 4000, 8000, 16_000, 30_000]);
  world.dice = () => 0;
  await world.next();
  assert.equal(world.timers[0].ms, 15_000);
});

test("refused events are counted and gone; the rest is acknowledged", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  for (let count = 0; count < 3; count++) sender.add(event(world));
  world.answer = () => [200, { accepted: 2, refused: [{ index: 1, code: "schema" }] }];
  await world.next();
  await settle();
  assert.deepEqual([sender.sent, sender.dropped, sender.waiting], [2, 1, 0]);
  for (const status of [400, 422]) {
    world.answer = () => [status];
    sender.add(event(world));
    await settle();
  }
  assert.deepEqual([sender.sent, sender.dropped, sender.waiting, sender.stopped], [2, 3, 0, undefined]);
});

test("too large: smaller requests, then given up", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  for (let count = 0; count < 8; count++) sender.add(event(world));
  world.answer = (request) => [request.events.length > 2 ? 413 : 200];
  await world.next();
  await settle();
  assert.deepEqual([sender.sent, sender.dropped], [8, 0]);
  world.answer = () => [413];
  sender.add(event(world));
  await settle();
  assert.deepEqual([sender.sent, sender.dropped, sender.waiting], [8, 1, 0]);
});

for (const [status, code] of [[401, "token_invalid"], [403, "origin_not_allowed"], [404, "not_found"], [415, "content_type"]]) {
  test(`${status} ends sending for good`, async () => {
    const world = new World();
    world.answer = () => [status, { code }];
    const sender = world.sender(undefined, async () => "t1");
    sender.add(event(world));
    await settle();
    sender.add(event(world));
    while (await world.next());
    assert.deepEqual([world.requests.length, sender.stopped, sender.dropped, sender.waiting], [1, code, 2, 0]);
  });
}

test("an expired token is renewed once, and again only after it worked", async () => {
  const world = new World();
  let renewals = 0;
  const renew = async () => `t${++renewals}`;
  world.answer = ({ token }) => (token === "t0" ? [401, { code: "token_expired" }] : [200]);
  const sender = world.sender(undefined, renew);
  sender.add(event(world));
  await settle();
  assert.deepEqual(world.requests.map((one) => one.token), ["t0", "t1"]);
  assert.deepEqual(world.requests[0].events, world.requests[1].events);
  world.answer = () => [401, { code: "token_expired" }];
  sender.add(event(world));
  await settle();
  assert.deepEqual([renewals, sender.stopped], [2, "token_expired"]);
});

for (const [name, renew] of [
  ["fails", () => Promise.reject(new Error("no"))],
  ["throws", () => { throw new Error("no"); }],
  ["gives nothing", async () => ""],
  ["never answers", () => new Promise(() => undefined)],
]) {
  test(`a renewal that ${name} is asked again, ever more rarely, then ends sending`, async () => {
    const world = new World();
    const began = world.now;
    let asked = 0;
    world.answer = () => [401, { code: "token_expired" }];
    const sender = world.sender(undefined, () => (asked++, renew()));
    sender.add(event(world));
    while (await world.next());
    assert.deepEqual([sender.stopped, asked, sender.waiting, sender.dropped], ["token_expired", 5, 0, 1]);
    assert.ok(world.now - began >= 15_000);
  });
}

test("a renewal that hung once does not end it, and what came late is not taken", async () => {
  const world = new World();
  let land;
  const answers = [new Promise((resolve) => (land = resolve)), Promise.resolve("t2")];
  world.answer = ({ token }) => (token === "t2" ? [200] : [401, { code: "token_expired" }]);
  const sender = world.sender(undefined, () => answers.shift());
  sender.add(event(world));
  await world.next();
  land("t1");
  while (await world.next());
  assert.deepEqual(world.requests.map((one) => one.token), ["t0", "t0", "t2"]);
  assert.deepEqual([sender.sent, sender.stopped], [1, undefined]);
});

test("an answer that is not the gateway's acknowledges nothing", async () => {
  const world = new World();
  const sender = world.sender();
  for (const body of [{}, { ok: true }, null, "<html>", []]) {
    world.answer = () => [200, body ?? undefined];
    if (body === null) world.answer = () => [204, {}];
    sender.add(event(world));
    await settle();
    assert.equal(sender.sent, 0);
  }
  world.answer = () => [200];
  while (await world.next());
  assert.deepEqual([sender.sent, sender.dropped], [5, 0]);
});

const HTTP_DATE = (ms) => new Date(ms).toUTCString();
for (const [name, headers, least, most] of [
  ["by the answer's own clock, an hour off", (now) => ({ "Retry-After": HTTP_DATE(now + 3_612_000), Date: HTTP_DATE(now + 3_600_000) }), 12_000, 12_000],
  ["by the browser's clock where the answer's cannot be read", (now) => ({ "Retry-After": HTTP_DATE(now + 8000) }), 7000, 8000],
  ["long past", (now) => ({ "Retry-After": HTTP_DATE(now - 8e8) }), 0, 0],
  ["years ahead", (now) => ({ "Retry-After": HTTP_DATE(now + 8e11) }), 600_000, 600_000],
  ["no date at all", () => ({ "Retry-After": "soon" }), 0, 0],
  ["negative", () => ({ "Retry-After": "-5" }), 0, 0],
]) {
  test(`Retry-After as a date: ${name}`, async () => {
    const world = new World();
    world.dice = () => 0;
    world.answer = () => [503, {}, headers(world.now)];
    world.sender().add(event(world));
    await settle();
    const [{ ms }] = world.timers;
    // 500 ms are the scattered wait of its own.
    assert.ok(ms >= least + 500 && ms <= most + 500, String(ms));
  });
}

test("an hour without network: bounded, counted, the newest kept, and it goes on by itself", async () => {
  const world = new World();
  world.answer = () => [0];
  const sender = world.sender();
  const began = world.now;
  let count = 0;
  while (world.now < began + 3_600_000) {
    sender.add(event(world, ["behaviour"], 3000));
    count++;
    const until = world.now + 5000;
    while (world.timers.length && world.timers.every((one) => one.at <= until) && (await world.next()));
    world.now = Math.max(world.now, until);
    assert.ok(sender.waiting <= 256);
  }
  assert.equal(sender.sent + sender.dropped + sender.waiting, count);
  // Retries: one in half a minute at most.
  assert.ok(world.requests.length < 260, String(world.requests.length));
  world.answer = () => [200];
  world.requests = [];
  while (await world.next());
  assert.equal(sender.waiting, 0);
  assert.equal(sender.sent + sender.dropped, count);
  const seen = sequences(world.requests);
  assert.deepEqual(seen, seen.slice().sort((a, b) => a - b));
  assert.equal(seen.at(-1), made - 1);
});

test("a clock set back or forth loses at most what waits, and never stops it", async () => {
  for (const jump of [-3_600_000, 3_600_000, -86_400_000 * 365]) {
    const world = new World();
    world.answer = () => [503];
    const sender = world.sender();
    sender.add(event(world));
    await settle();
    world.now += jump;
    // As the gateway does: what lies in its future or too far back is refused.
    const fresh = (sent_at, at) => sent_at - at >= -60_000 && sent_at - at <= 600_000;
    const ats = new Map();
    world.answer = ({ events, sent_at }) => {
      const refused = events.filter((one) => !fresh(sent_at, ats.get(one.sequence) ?? world.now - jump));
      if (refused.length === events.length) return [422, { code: "events_refused", refused }];
      return [200, { accepted: events.length - refused.length, refused }];
    };
    const later = event(world);
    ats.set(JSON.parse(later.text).sequence, later.at);
    sender.add(later);
    world.timers.forEach((timer) => (timer.at = world.now + 1));
    while (await world.next());
    assert.deepEqual([sender.sent, sender.dropped, sender.waiting, sender.stopped], [1, 1, 0, undefined]);
  }
});

test("the page goes away and fetch can outlive it: what fits is sent so, without cookies or address", async () => {
  const world = new World();
  world.beacon = undefined;
  let room = 65_536;
  const fetch = world.fetch;
  const holds = [];
  world.fetch = (url, init) => {
    if (init.keepalive) {
      if (init.body.length > room) return Promise.reject(new TypeError("network"));
      room -= init.body.length;
    }
    return fetch(url, init);
  };
  world.answer = () => new Promise((resolve) => holds.push(resolve));
  const sender = world.sender();
  const first = made;
  for (const size of [10, 20_000, 80_000, 20_000, 200, 20_000, 300]) sender.add(event(world, ["behaviour"], size));
  await settle();
  sender.leave();
  await settle();
  const beyond = world.requests.slice(1);
  // The 80 kB cannot go, nor can a third of 20 kB; nothing else waits for them.
  assert.deepEqual(sequences(beyond).sort(), [1, 3, 4, 5, 6].map((at) => first + at));
  for (const { init } of beyond) {
    assert.deepEqual([init.keepalive, init.credentials, init.referrerPolicy], [true, "omit", "no-referrer"]);
  }
  sender.leave();
  await settle();
  assert.equal(world.requests.length, beyond.length + 1);
  // It lives on: all of it is sent, each acknowledged once.
  world.answer = () => [200];
  for (const land of holds) land([200]);
  while (await world.next());
  assert.deepEqual([sender.sent, sender.dropped, sender.waiting], [7, 0, 0]);
});

test("room that others of the page took is no network that is down", async () => {
  const world = new World();
  const fetch = world.fetch;
  world.fetch = (url, init) => (init.keepalive ? Promise.reject(new TypeError("network")) : fetch(url, init));
  const sender = world.sender();
  sender.add(event(world));
  await settle();
  assert.equal(sender.sent, 0);
  await world.next();
  assert.equal(sender.sent, 1);
});

test("the page goes away: what waits goes by beacon, what flies is left alone", async () => {
  const world = new World();
  let land;
  world.answer = () => new Promise((resolve) => (land = resolve));
  const sender = world.sender();
  const first = made;
  for (let count = 0; count < 20; count++) sender.add(event(world));
  await settle();
  sender.leave();
  assert.deepEqual(sequences(world.requests), [first]);
  assert.deepEqual(sequences(world.beacons), Array.from({ length: 19 }, (_, at) => first + 1 + at));
  assert.ok(world.beacons.every((one) => one.events.length <= 16));
  // Once more: nothing is new.
  sender.leave();
  assert.equal(sequences(world.beacons).length, 19);
  sender.add(event(world));
  sender.leave();
  assert.equal(world.beacons.at(-1).events.length, 1);
  // It comes back, and the request had failed: all is sent again, in order; nobody knows what became of the beacons.
  land([0]);
  await settle();
  world.answer = () => [200];
  world.requests = [];
  await world.next();
  await settle();
  assert.deepEqual(sequences(world.requests), Array.from({ length: 21 }, (_, at) => first + at));
  assert.deepEqual([sender.sent, sender.dropped, sender.waiting], [21, 0, 0]);
});

test("beacons that do not fit are left for later", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  for (let count = 0; count < 20; count++) sender.add(event(world, ["behaviour"], 5000));
  await settle();
  world.beaconRoom = 64_000;
  sender.leave();
  const first = sequences(world.beacons);
  assert.ok(first.length > 4 && first.length < 20);
  world.beaconRoom = 64_000;
  sender.leave();
  assert.equal(new Set(sequences(world.beacons)).size, sequences(world.beacons).length);
  assert.equal(sender.waiting, 20);
});

test("a beacon that is too large holds nothing else up", async () => {
  const world = new World();
  world.answer = () => [503];
  world.beaconRoom = 64_000;
  const sender = world.sender();
  const first = made;
  for (const size of [10, 70_000, 20, 30_000, 30]) sender.add(event(world, ["behaviour"], size));
  await settle();
  sender.leave();
  assert.deepEqual(sequences(world.beacons).sort(), [0, 2, 3, 4].map((at) => first + at));
  assert.equal(sender.waiting, 5);
});

test("withdrawn consent throws away what waits of it, and nothing else", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  sender.add(event(world, ["behaviour", "device"]));
  sender.add(event(world, ["behaviour"]));
  sender.add(event(world, ["camera"]));
  await settle();
  sender.withdraw("device");
  sender.withdraw("camera");
  assert.deepEqual([sender.waiting, sender.dropped], [1, 2]);
});

test("the queue is bounded, and the oldest goes", async () => {
  const world = new World();
  world.answer = () => [0];
  const sender = world.sender();
  const first = made;
  for (let count = 0; count < 300; count++) sender.add(event(world));
  await settle();
  assert.ok(sender.waiting <= 256);
  assert.equal(sender.waiting + sender.dropped, 300);
  world.answer = () => [200];
  world.requests = [];
  while (await world.next());
  const seen = sequences(world.requests);
  assert.equal(seen[seen.length - 1], first + 299);
});

test("what waited too long is not sent", async () => {
  const world = new World();
  world.answer = () => [0];
  const sender = world.sender();
  sender.add(event(world));
  await settle();
  world.now += 10 * 60_000;
  world.requests = [];
  await world.next();
  assert.deepEqual([world.requests.length, sender.dropped, sender.waiting], [0, 1, 0]);
});

test("stop ends everything at once", async () => {
  const world = new World();
  world.answer = () => [503];
  const sender = world.sender();
  sender.add(event(world));
  await settle();
  sender.stop("stopped");
  sender.leave();
  assert.equal(await world.next(), false);
  assert.deepEqual([world.requests.length, world.beacons.length, sender.waiting, sender.dropped], [1, 0, 0, 1]);
});

test("against a gateway that answers anything: in order, each kept once, as the naive ledger says", async () => {
  let seed = 42;
  const random = () => ((seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32);
  for (let round = 0; round < 40; round++) {
    const world = new World();
    world.dice = random;
    const kept = new Map();
    const arrivals = [];
    world.answer = (request) => {
      const roll = random();
      // Half of the failures happen after the gateway has the events.
      if (roll < 0.6 || roll > 0.8) {
        for (const one of request.events) {
          if (!kept.has(one.sequence)) arrivals.push(one.sequence);
          else assert.deepEqual(kept.get(one.sequence), one);
          kept.set(one.sequence, one);
        }
      }
      return roll < 0.6 ? [200] : [[0], [500], [503, {}, { "Retry-After": "1" }], [429], [408]][Math.floor(random() * 5)];
    };
    const sender = world.sender();
    const mine = [];
    for (let count = 0; count < 30; count++) {
      mine.push(made);
      sender.add(event(world));
      if (random() < 0.5) await world.next();
    }
    while (sender.waiting && (await world.next()));
    assert.deepEqual(arrivals, mine);
    assert.deepEqual([sender.sent, sender.dropped, sender.stopped], [30, 0, undefined]);
  }
});
