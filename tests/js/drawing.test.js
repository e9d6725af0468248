// The brush: strokes on masks, erasing, polygons and fills.

import assert from "node:assert/strict";
import { test } from "node:test";

import { drawPolygon, drawStroke, fillHoles, fillRegion, growMask, maskBox, moveMask, scaleMask } from "../../app/static/review/drawing.js";

/** @import { SizeHW } from "../../app/static/player/types.js" */

/** @type {SizeHW} */
const SIZE = [20, 30];
const empty = () => new Uint8Array(SIZE[0] * SIZE[1]);
/** @param {Uint8Array} bits */
const area = (bits) => bits.reduce((sum, bit) => sum + bit, 0);
/** @param {Uint8Array} bits @param {number} x @param {number} y */
const at = (bits, x, y) => bits[y * SIZE[1] + x];

test("a press sets the pixels whose centre is within the radius", () => {
  const bits = empty();
  drawStroke(bits, SIZE, [15, 10], [15, 10], 5, 1);
  for (let y = 0; y < SIZE[0]; y++) {
    for (let x = 0; x < SIZE[1]; x++) {
      const distance = Math.hypot(x + 0.5 - 15, y + 0.5 - 10);
      if (Math.abs(distance - 5) > 1e-9) assert.equal(at(bits, x, y), Number(distance < 5), `${x}, ${y}`);
    }
  }
});

test("the smallest brush sets one pixel", () => {
  const bits = empty();
  drawStroke(bits, SIZE, [3.2, 4.9], [3.2, 4.9], 0.1, 1);
  assert.equal(area(bits), 1);
  assert.equal(at(bits, 3, 4), 1);
});

test("a stroke leaves no gaps on its way", () => {
  const bits = empty();
  drawStroke(bits, SIZE, [2, 10], [28, 10], 2, 1);
  for (let x = 2; x < 28; x++) assert.equal(at(bits, x, 10), 1);
  assert.equal(at(bits, 15, 14), 0);
});

test("a stroke beyond the border changes only the picture", () => {
  const bits = empty();
  drawStroke(bits, SIZE, [-10, -10], [60, 40], 3, 1);
  assert.equal(bits.length, SIZE[0] * SIZE[1]);
  assert(area(bits) > 0);
  const outside = empty();
  drawStroke(outside, SIZE, [-10, -10], [-20, -10], 3, 1);
  assert.equal(area(outside), 0);
});

test("erasing along the same stroke removes it", () => {
  const bits = empty();
  drawStroke(bits, SIZE, [5, 5], [20, 15], 4, 1);
  const drawn = area(bits);
  drawStroke(bits, SIZE, [5, 5], [5, 5], 2, 0);
  assert(area(bits) < drawn && at(bits, 5, 5) === 0);
  drawStroke(bits, SIZE, [5, 5], [20, 15], 4, 0);
  assert.equal(area(bits), 0);
});

test("a polygon sets the pixels whose centre is inside", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[5, 5], [15, 5], [15, 12], [5, 12]]);
  assert.equal(area(bits), 10 * 7);
  assert.equal(at(bits, 5, 5), 1);
  assert.equal(at(bits, 15, 5), 0);
});

test("where a polygon crosses itself the even-odd rule holds", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[2, 2], [22, 2], [22, 18], [2, 18], [2, 2], [8, 6], [16, 6], [16, 14], [8, 14], [8, 6]]);
  assert.equal(at(bits, 4, 10), 1);
  assert.equal(at(bits, 12, 10), 0);
});

test("a hole is filled, an open region is not", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[5, 5], [15, 5], [15, 12], [5, 12]]);
  drawStroke(bits, SIZE, [10, 8], [10, 8], 2, 0);
  assert(area(bits) < 70);
  assert.equal(fillRegion(bits, SIZE, [10, 8]), true);
  assert.equal(area(bits), 70);
  assert.equal(fillRegion(bits, SIZE, [25, 3]), false, "it reaches the border");
  assert.equal(fillRegion(bits, SIZE, [10, 8]), false, "it is foreground");
  assert.equal(area(bits), 70);
});

test("all holes of a mask are filled, what is open to the border is not", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[2, 2], [28, 2], [28, 18], [2, 18]]);
  drawStroke(bits, SIZE, [8, 8], [8, 8], 2, 0);
  drawStroke(bits, SIZE, [18, 12], [20, 12], 2, 0);
  assert.equal(fillHoles(bits, SIZE), true);
  assert.equal(area(bits), 26 * 16);
  assert.equal(fillHoles(bits, SIZE), false);
});

test("a mask moves by whole pixels, and what leaves the picture is cut off", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[5, 5], [15, 5], [15, 12], [5, 12]]);
  assert.deepEqual(maskBox(moveMask(bits, SIZE, [3, -2]), SIZE), { x: 8, y: 3, w: 10, h: 7 });
  assert.deepEqual(moveMask(moveMask(bits, SIZE, [3, -2]), SIZE, [-3, 2]), bits);
  assert.equal(area(moveMask(bits, SIZE, [-10, 0])), 5 * 7);
  assert.equal(area(moveMask(bits, SIZE, [40, 0])) + area(moveMask(bits, SIZE, [0, -40])), 0);
});

test("a mask is scaled around a point", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[10, 6], [20, 6], [20, 14], [10, 14]]);
  assert.deepEqual(maskBox(scaleMask(bits, SIZE, [15, 10], 0.5), SIZE), { x: 12, y: 8, w: 5, h: 4 });
  assert.deepEqual(maskBox(scaleMask(bits, SIZE, [15, 10], 1.2), SIZE), { x: 9, y: 5, w: 12, h: 10 });
  assert.deepEqual(scaleMask(bits, SIZE, [15, 10], 1), bits);
});

test("growing and shrinking change a mask by one pixel", () => {
  const bits = empty();
  drawPolygon(bits, SIZE, [[5, 5], [15, 5], [15, 12], [5, 12]]);
  const grown = growMask(bits, SIZE, true);
  assert.equal(area(grown), 70 + 2 * (10 + 7));
  assert.deepEqual(growMask(bits, SIZE, false).reduce((sum, bit) => sum + bit, 0), 8 * 5);
  assert.deepEqual(growMask(grown, SIZE, false), bits);
});

test("the box of an empty mask is null", () => assert.equal(maskBox(empty(), SIZE), null));
