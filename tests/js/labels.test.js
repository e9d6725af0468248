// Where labels are placed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { placeLabels } from "../../app/static/player/labels.js";
import { oneLine } from "../../app/static/player/paint.js";

const WIDTH = 400, HEIGHT = 200;

/** @param {number} x @param {number} y @param {number} w @param {number} h */
const shape = (x, y, w, h) => ({ x, y, w, h, bits: new Uint8Array(w * h).fill(1), edge: new Int32Array(0) });

/** @param {ReturnType<typeof shape>} of @param {boolean} wanted */
const label = (of, wanted = false) => ({ shape: of, w: 60, h: 16, wanted });

/** @param {ReturnType<typeof label>[]} labels */
const corners = (labels) => placeLabels(labels, WIDTH, HEIGHT).map((box) => box && [box.x, box.y]);

test("above its object, where that is not on the picture below it, then beside it", () => {
  assert.deepEqual(corners([label(shape(100, 50, 40, 40))]), [[100, 34]]);
  assert.deepEqual(corners([label(shape(100, 0, 40, 40))]), [[100, 40]]);
  assert.deepEqual(corners([label(shape(100, 0, 40, HEIGHT))]), [[140, 0]]);
  assert.deepEqual(corners([label(shape(350, 0, 50, HEIGHT))]), [[290, 0]]);
  assert.deepEqual(corners([label(shape(390, 50, 10, 40))]), [[340, 34]], "moved into the picture");
});

test("inside of an object that fills the picture, since it covers little of it", () => {
  assert.deepEqual(corners([label(shape(0, 0, WIDTH, HEIGHT))]), [[0, 0]]);
});

test("no label covers a tenth of another object", () => {
  const small = shape(100, 36, 30, 14), object = shape(100, 50, 40, 40);
  assert.deepEqual(corners([label(object), label(small)]), [[100, 90], [100, 20]]);
});

test("two labels do not overlap", () => {
  const boxes = placeLabels([1, 2, 3].map(() => label(shape(100, 50, 70, 40))), WIDTH, HEIGHT);
  assert.deepEqual(boxes.map((box) => box && [box.x, box.y]), [[100, 34], [100, 90], [170, 50]]);
});

test("no label is written under a caption", () => {
  const boxes = placeLabels([label(shape(100, 50, 70, 40))], WIDTH, HEIGHT, [{ x: 90, y: 30, w: 40, h: 10 }]);
  assert.deepEqual(boxes.map((box) => box && [box.x, box.y]), [[100, 90]]);
});

test("of many objects only the selected one has a label, and always has one", () => {
  const labels = Array.from({ length: 14 }, (_, i) => label(shape(20 + 25 * i, 100, 12, 12)));
  assert.deepEqual(new Set(corners(labels)), new Set([null]));
  labels[5].wanted = true;
  assert.deepEqual(corners(labels).map((corner, i) => corner && i).filter(Boolean), [5]);
  const covered = [label(shape(0, 0, 60, 100), true), ...[0, 16, 84].map((y) => label(shape(60, y, 60, 16))), label(shape(0, 100, 60, 16))];
  assert(corners(covered)[0], "even where no place is free");
});

test("a long text is shortened to one line", () => {
  assert.equal(oneLine("1 dog 0.93", (part) => 10 * part.length, 100), "1 dog 0.93");
  assert.equal(oneLine("1 sports equipment", (part) => 10 * part.length, 100), "1 sports…");
});

test("labels that are left out still keep others off their objects", () => {
  const above = { ...label(shape(90, 20, 80, 28)), left: true };
  assert.deepEqual(corners([label(shape(100, 50, 40, 40))]), [[100, 34]]);
  assert.deepEqual(corners([label(shape(100, 50, 40, 40)), above]), [[100, 90], null]);
});
