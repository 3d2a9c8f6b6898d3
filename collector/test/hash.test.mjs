// The hash tells renderings apart; it hides nothing and need not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { hash } from "../src/hash.ts";

test("16 hexadecimal digits, the same for the same input", () => {
  for (const input of ["", "a", "\u{1f603}", new Float32Array([0, -0.5, 1e-9])]) {
    assert.match(hash(input), /^[0-9a-f]{16}$/);
    assert.equal(hash(input), hash(input));
  }
});

test("small differences show, and both halves take part", () => {
  const seen = new Map();
  for (let at = 0; at < 20_000; at++) {
    for (const input of [`text ${at}`, new Float32Array([0.1, at / 7, -0.3])]) seen.set(hash(input), at);
  }
  assert.equal(seen.size, 40_000);
  for (const half of [0, 8]) assert.ok(new Set([...seen.keys()].map((one) => one.slice(half, half + 8))).size > 39_900);
});

test("the order counts", () => {
  assert.notEqual(hash("ab"), hash("ba"));
  assert.notEqual(hash(new Float32Array([1, 2])), hash(new Float32Array([2, 1])));
});
