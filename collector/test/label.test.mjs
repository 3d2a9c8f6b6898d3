// A phone that serves as a camera bears its owner's name, which must not leave the page.
import assert from "node:assert/strict";
import { test } from "node:test";
import { labelOf } from "../src/label.ts";

test("a phone's label says what it is, not whose", () => {
  for (const label of ["Ann's iPhone Camera", "Annas iPhone Kamera", "iPhone de José", "Kim iPhone", "安娜的iPhone相机"]) {
    assert.equal(labelOf(label), "iPhone Camera");
  }
  assert.equal(labelOf("Galaxy S24 von Jörg"), "Galaxy Camera");
});

test("whose a telephone is that another program passes on is left out, the program is not", () => {
  for (const [label, told] of [
    ["Ann's S24 (Windows Virtual Camera)", "S24 (Windows Virtual Camera)"],
    ["Zoë’s phone", "phone"],
    ["S24 von Jörg (Windows Virtual Camera)", "S24 (Windows Virtual Camera)"],
    ["Téléphone de José-María", "Téléphone"],
  ]) {
    assert.equal(labelOf(label), told);
  }
});

test("other labels stay, for a virtual camera tells itself by them", () => {
  for (const label of ["OBS Virtual Camera", "FaceTime HD Camera (05ac:8514)", "fake_device_0", ""]) {
    assert.equal(labelOf(label), label);
  }
  assert.equal(labelOf("x".repeat(1000)).length, 256);
});
