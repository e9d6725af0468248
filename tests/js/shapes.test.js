// Masks at the size of a canvas, and their outlines.

import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeMask } from "../../app/static/player/rle.js";
import { maskShape } from "../../app/static/player/shapes.js";

/** @import { Shape, SizeHW } from "../../app/static/player/types.js" */

/** @type {SizeHW} */
const SIZE = [6, 8];

/** @param {...string} rows */
function textOf(...rows) {
  return encodeMask(Uint8Array.from(rows.join(""), Number), [rows.length, rows[0].length]);
}

/** @param {string} text @param {SizeHW} size @param {number} width @param {number} height @returns {Shape} */
function shapeOf(text, size, width, height) {
  const shape = maskShape(text, size, width, height);
  assert(shape);
  return shape;
}

const BLOCK = textOf("00000000", "00111100", "00111100", "00111100", "00000000", "00000000");

test("at its own size a mask has its own box and pixels", () => {
  const { x, y, w, h, bits } = shapeOf(BLOCK, SIZE, 8, 6);
  assert.deepEqual([x, y, w, h], [2, 1, 4, 3]);
  assert.deepEqual([...bits], Array(12).fill(1));
});

test("a larger canvas scales the mask", () => {
  const { x, y, w, h, bits } = shapeOf(BLOCK, SIZE, 80, 60);
  assert.deepEqual([x, y, w, h], [20, 10, 40, 30]);
  assert(bits.every(Boolean));
});

test("a mask too small for the canvas is not drawn", () => {
  const pixel = textOf(...Array(100).fill("0".repeat(100)).with(40, `${"0".repeat(40)}1${"0".repeat(59)}`));
  assert.equal(maskShape(pixel, [100, 100], 3, 3), null);
  assert.equal(maskShape(textOf("00", "00"), [2, 2], 20, 20), null);
});

test("an outline has one step for each side of a pixel, inside and outside", () => {
  const { edge } = shapeOf(BLOCK, SIZE, 8, 6);
  assert.equal(edge.length, 2 * (2 * 4 + 2 * 3));
  for (let i = 0; i < edge.length; i += 2) {
    const x = edge[i] % 8, y = Math.floor(edge[i] / 8);
    assert(x >= 2 && x < 6 && y >= 1 && y < 4, "inside");
    const ox = edge[i + 1] % 8, oy = Math.floor(edge[i + 1] / 8);
    assert(ox < 2 || ox >= 6 || oy < 1 || oy >= 4, "outside");
    assert.equal(Math.abs(ox - x) + Math.abs(oy - y), 1);
  }
});

test("at the border of the canvas the outside is -1", () => {
  const { edge } = shapeOf(textOf("11", "11"), [2, 2], 2, 2);
  assert.equal(edge.length, 16);
  assert([...edge].filter((_, i) => i % 2).every((position) => position === -1));
});

test("holes and separate parts have outlines of their own", () => {
  const ring = textOf("1110", "1010", "1110", "0000", "0001");
  const { edge } = shapeOf(ring, [5, 4], 4, 5);
  assert.equal(edge.length, 2 * (12 + 4 + 4));
});
