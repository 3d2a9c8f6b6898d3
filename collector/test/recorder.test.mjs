// A session's numbers over the pages of a tab, and consent, of the recorder without any page: device facts alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Recorder } from "../src/recorder.ts";

const stored = new Map();
globalThis.sessionStorage = { getItem: (name) => stored.get(name) ?? null, setItem: (name, text) => stored.set(name, text) };

/** A page of one tab: its recorder, and every event that it made. */
const page = (session_id, errors = []) => {
  const events = [];
  const outside = {
    fetch: async (_, { body }) => {
      events.push(...JSON.parse(body).events);
      return { status: 200, headers: { get: () => null }, json: async () => ({}) };
    },
    beacon: () => true,
    clock: () => Date.now(),
    random: () => 1,
    later: () => 0,
    cancel: () => undefined,
  };
  const session = { endpoint: "https://gateway.test/v1/telemetry", session_id, nonce: "n", token: "t" };
  const recorder = new Recorder({ session, onError: (error) => errors.push(error) }, outside);
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

test("a consent of nothing withdraws everything", async () => {
  const errors = [];
  const { recorder, events, one } = page("v", errors);
  recorder.tell({ device: { language: "en" } });
  recorder.agree(null);
  await one();
  assert.deepEqual([events, errors, recorder.allows("device")], [[], [], false]);
});
