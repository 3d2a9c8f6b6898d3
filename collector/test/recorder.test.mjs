// A session's numbers over the pages of a tab, and consent, of the recorder without any page: device facts alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Recorder } from "../src/recorder.ts";

const stored = new Map();
Object.assign(globalThis, { innerWidth: 1000, innerHeight: 800, devicePixelRatio: 1 });
globalThis.sessionStorage = { getItem: (name) => stored.get(name) ?? null, setItem: (name, text) => stored.set(name, text) };

/** A page of one tab: its recorder, and every event that it made. */
const page = (session_id, errors = [], more = {}) => {
  const events = [];
  const outside = {
    fetch: async (_, { body }) => {
      events.push(...JSON.parse(body).events);
      return { status: 200, headers: { get: () => null }, json: async () => ({ accepted: 1, refused: [] }) };
    },
    beacon: () => true,
    clock: () => Date.now(),
    random: () => 1,
    later: () => 0,
    cancel: () => undefined,
  };
  const session = { endpoint: "https://gateway.test/v1/telemetry", session_id, nonce: "n", token: "t" };
  const recorder = new Recorder({ session, onError: (error) => errors.push(error), ...more }, outside);
  recorder.agree({ device: true });
  const one = async () => {
    recorder.tell({ device: { language: "en" } });
    recorder.flush();
    for (let turn = 0; turn < 30; turn++) await Promise.resolve();
  };
  return { recorder, events, one };
};
const numbers = (events) => events.map((event) => event.sequence);

test("a page that comes back out of the cache goes on behind the page between", async () => {
  stored.clear();
  const first = page("s");
  await first.one();
  await first.one();
  const second = page("s");
  await second.one();
  await second.one();
  await first.one();
  assert.deepEqual([numbers(first.events), numbers(second.events)], [[0, 1, 4], [2, 3]]);
});

test("another session begins anew, and storage that is not there is no error", async () => {
  stored.clear();
  const first = page("s");
  await first.one();
  const other = page("t");
  await other.one();
  assert.deepEqual(numbers(other.events), [0]);
  const errors = [];
  const kept = globalThis.sessionStorage;
  delete globalThis.sessionStorage;
  const without = page("u", errors);
  await without.one();
  await without.one();
  globalThis.sessionStorage = kept;
  assert.deepEqual([numbers(without.events), errors], [[0, 1], []]);
});

test("two sessions of one tab, by turns, on one page or on many: each keeps its own numbers", async () => {
  stored.clear();
  const [first, other] = [page("s"), page("t")];
  for (const one of [first, other, other, first, other]) await one.one();
  const again = [page("s"), page("t")];
  for (const one of [...again, ...again]) await one.one();
  assert.deepEqual(numbers(first.events).concat(numbers(again[0].events)), [0, 1, 2, 3]);
  assert.deepEqual(numbers(other.events).concat(numbers(again[1].events)), [0, 1, 2, 3, 4]);
});

test("two collectors of one session on one page never give a number twice", async () => {
  stored.clear();
  const pages = [page("s"), page("s"), page("s")];
  for (let turn = 0; turn < 30; turn++) await pages[(turn * 7) % 3].one();
  const all = pages.flatMap((one) => numbers(one.events)).sort((a, b) => a - b);
  assert.deepEqual(all, Array.from({ length: 30 }, (_, at) => at));
});

test("what is remembered is bounded, and somebody else's words there are overwritten", async () => {
  stored.clear();
  for (let count = 0; count < 100; count++) await page(`s_${count}`).one();
  assert.ok(stored.get("tellwire").length < 1000);
  for (const words of ["{", "null", "7", '{"id":"s","next":3}', '[["s","x"],7,null,["s"]]']) {
    stored.set("tellwire", words);
    const errors = [];
    const first = page("s", errors);
    await first.one();
    const second = page("s", errors);
    await second.one();
    assert.deepEqual([numbers(first.events), numbers(second.events), errors], [[0], [1], []], words);
  }
});

test("an event that would be too large is made into several, none lost, each with what it needs", async () => {
  stored.clear();
  const { recorder, events } = page("large");
  recorder.agree({ device: true, camera: true });
  const labels = (count) => Array.from({ length: count }, (_, at) => `${at}`.padEnd(250, "é"));
  recorder.tell({ device: { automation_globals: labels(50) }, capture: { camera_labels: labels(30) } });
  recorder.end("completed");
  for (let turn = 0; turn < 60; turn++) await Promise.resolve();
  assert.deepEqual(events.map((event) => Object.keys(event).filter((name) => /device|capture|viewport|^end/.test(name))), [
    ["viewport", "device"],
    ["capture", "end"],
  ]);
  assert.deepEqual([numbers(events), new Set(events.map((one) => one.event_id)).size], [[0, 1], 2]);
  assert.deepEqual([events[0].device.automation_globals.length, events[1].capture.camera_labels.length], [50, 30]);
  for (const event of events) assert.ok(Buffer.byteLength(JSON.stringify(event)) < 40_000);
});

test("declared assistive technology goes with the first event, whatever it is, and no withdrawal takes it away", async () => {
  stored.clear();
  const first = page("a", [], { assistiveTechnology: true });
  await first.one();
  await first.one();
  assert.deepEqual(first.events.map((event) => event.device.assistive_technology), [true, undefined]);
  const second = page("b", [], { assistiveTechnology: true });
  second.recorder.agree({ camera: true, device: true });
  second.recorder.tell({ capture: { upload: true } });
  second.recorder.agree({ camera: true });
  second.recorder.flush();
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
  assert.deepEqual(second.events.map((event) => [event.device, event.capture]), [[{ assistive_technology: true }, { upload: true }]]);
});

const sent = async ({ events }) => {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
  return events.map(({ device, capture, end }) => ({ device, capture, end: end?.reason }));
};

test("a device that is being read is told with the first event, and what came since with the last", async () => {
  stored.clear();
  const one = page("part");
  const device = { webdriver: true, language: undefined };
  one.recorder.reads(device);
  one.recorder.flush();
  assert.deepEqual(await sent(one), [], "alone it makes no event before the last");
  one.recorder.agree({ device: true, camera: true });
  const upload = () => {
    one.recorder.tell({ capture: { upload: true } });
    one.recorder.flush();
  };
  upload();
  device.platform = "Linux";
  upload();
  one.recorder.end("completed");
  const capture = { upload: true };
  assert.deepEqual(await sent(one), [
    { device: { webdriver: true, partial: true }, capture, end: undefined },
    { device: undefined, capture, end: undefined },
    { device: { webdriver: true, platform: "Linux", partial: true }, capture: undefined, end: "completed" },
  ]);
});

test("a page that is left tells what was read by then, once; and a whole device ends its parts", async () => {
  stored.clear();
  const left = page("left");
  left.recorder.reads({ webdriver: true });
  left.recorder.flush(true);
  left.recorder.flush(true);
  assert.deepEqual((await sent(left)).map(({ device }) => device), [{ webdriver: true, partial: true }]);
  const whole = page("whole");
  const device = { webdriver: true };
  whole.recorder.reads(device);
  device.platform = "Linux";
  whole.recorder.tell({ device });
  whole.recorder.flush();
  whole.recorder.end("completed");
  assert.deepEqual((await sent(whole)).map((one) => one.device), [{ webdriver: true, platform: "Linux" }, undefined]);
});

test("parts of a device need its consent as the whole does", async () => {
  stored.clear();
  const one = page("withdrawn");
  one.recorder.reads({ webdriver: true });
  one.recorder.agree({ camera: true });
  one.recorder.agree({ camera: true, device: true });
  one.recorder.tell({ capture: { upload: true } });
  one.recorder.end("completed");
  assert.deepEqual(await sent(one), [{ device: undefined, capture: { upload: true }, end: "completed" }]);
});

test("an old library's toJSON does not spoil what is sent", async () => {
  stored.clear();
  const spoilt = { "Array.prototype": Array.prototype, "Object.prototype": Object.prototype, "String.prototype": String.prototype };
  for (const [name, owner] of Object.entries(spoilt)) {
    Object.defineProperty(owner, "toJSON", { configurable: true, value: () => "spoilt" });
    try {
      const one = page(`json ${name}`);
      one.recorder.tell({ device: { languages: ["de", "e\"n"], language: undefined, webdriver: false } });
      one.recorder.flush();
      for (let turn = 0; turn < 30; turn++) await Promise.resolve();
      delete owner.toJSON;
      assert.deepEqual(one.events.map((event) => event.device), [{ languages: ["de", 'e"n'], webdriver: false }]);
    } finally {
      delete owner.toJSON;
    }
  }
});

test("a consent of nothing withdraws everything", async () => {
  const errors = [];
  const { recorder, events, one } = page("v", errors);
  recorder.tell({ device: { language: "en" } });
  recorder.agree(null);
  await one();
  assert.deepEqual([events, errors, recorder.allows("device")], [[], [], false]);
});

test("a fact that input showed goes with what is told of the device, and only with consent to that", async () => {
  stored.clear();
  const { recorder, events, one } = page("s");
  assert.equal(recorder.shown({ capitals_unshifted: true }), true);
  await one();
  assert.equal(recorder.shown({ capitals_unshifted: true }), true);
  recorder.mark(performance.now());
  recorder.flush();
  await one();
  assert.deepEqual(
    events.map((event) => event.device),
    [{ capitals_unshifted: true, language: "en" }, { capitals_unshifted: true, partial: true }, { language: "en" }],
  );
  assert.equal(recorder.shown({ capitals_unshifted: true }), true);
  recorder.agree({ behaviour: true });
  assert.equal(recorder.shown({ capitals_unshifted: true }), false);
  recorder.agree({ device: true });
  await one();
  assert.deepEqual(events.at(-1).device, { language: "en" });
});
