// A key is known by its class alone, whatever the script; in a sensitive field not even by that.
import assert from "node:assert/strict";
import { test } from "node:test";
import { classOf } from "../src/keys.ts";

const CLASSES = {
  1: ["a", "Z", "é", "ß", "я", "の", "漢", "ا", "𝒜"],
  2: ["0", "9", "٣", "९"],
  3: [" "],
  4: ["Enter"],
  5: ["Backspace", "Delete", "Clear"],
  6: ["Shift", "Control", "Alt", "AltGraph", "Meta", "CapsLock"],
  7: [".", "@", "-", "€", "+", "¿", "`"],
  8: ["Tab", "Escape", "ArrowLeft", "Home", "End", "PageUp"],
  9: ["F1", "Dead", "MediaPlayPause", "", "\u0000", "👩‍👩‍👧"],
};

test("each key has its class", () => {
  for (const [kind, keys] of Object.entries(CLASSES)) {
    for (const key of keys) assert.equal(classOf(key), Number(kind), JSON.stringify(key));
  }
});

test("in a sensitive field every printable key is other", () => {
  for (const key of ["a", "Z", "7", ".", " ", "漢", "𝒜"]) assert.equal(classOf(key, true), 9, key);
  for (const [key, kind] of [["Enter", 4], ["Backspace", 5], ["Shift", 6], ["Tab", 8]]) assert.equal(classOf(key, true), kind);
});
