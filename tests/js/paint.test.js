// Painting order, colours and blending.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fillShape, paintOrder, trackColour, trackColours } from "../../app/static/player/paint.js";

/** @import { Shape, Track } from "../../app/static/player/types.js" */

/** @param {string} name @param {boolean} dashed @param {number} score @param {boolean} selected */
const item = (name, dashed, score, selected = false) => ({ name, dashed, selected, track: { score } });

test("ground truth is at the back, the best prediction in front, the selected ones before all", () => {
  const items = [item("best", true, 0.9), item("truth", false, 1), item("worst", true, 0.1), item("selected truth", false, 1, true), item("selected", true, 0.3, true)];
  assert.deepEqual(paintOrder(items).map(({ name }) => name), ["truth", "worst", "best", "selected truth", "selected"]);
  assert.equal(items[0].name, "best", "the argument stays as it is");
});

test("equal items keep their order", () => {
  const items = ["a", "b", "c"].map((name) => item(name, true, 0.5));
  assert.deepEqual(paintOrder(items).map(({ name }) => name), ["a", "b", "c"]);
});

/** @param {Partial<Track>} data @returns {Track} */
const track = (data) => ({ id: 1, category: 2, label: "", score: 0.5, seen: [], ...data });

test("colours are of the track, its class or its score", () => {
  const view = { palette: [[0, 0, 0], [1, 1, 1], [2, 2, 2]] };
  assert.deepEqual(trackColour(view, track({ id: 4 }), "track"), [1, 1, 1]);
  assert.deepEqual(trackColour(view, track({ id: -1 }), "track"), [2, 2, 2]);
  assert.deepEqual(trackColour(view, track({ category: 5 }), "class"), [2, 2, 2]);
  assert.deepEqual(trackColour(view, track({ score: 0 }), "score"), [68, 1, 84]);
  assert.deepEqual(trackColour(view, track({ score: 0.5 }), "score"), [33, 145, 140]);
  assert.deepEqual(trackColour(view, track({ rgb: [9, 8, 7] }), "score"), [9, 8, 7]);
});

test("visible tracks have different colours, the lowest ids their own", () => {
  const palette = Array.from({ length: 24 }, (_, level) => [level, 0, 0]);
  /** @param {number[]} ids */
  const levels = (ids) => ids.map((id) => trackColours(palette, ids).get(id)?.[0]);
  assert.deepEqual(levels([3, 1, 14]), [3, 1, 2]);
  assert.deepEqual(levels([3, 15, 27]), [3, 0, 1]);
  assert.deepEqual(levels([-1, 11]), [11, 0]);
  const many = Array.from({ length: 24 }, (_, i) => 5 * i);
  assert.equal(new Set(levels(many)).size, 24);
  assert.equal(trackColours(palette, [...many, 1000]).get(1000)?.[0], 4, "of more than the palette has, its own once more");
  assert.deepEqual(trackColour({ palette }, track({ id: 14 }), "track", [2, 0, 0]), [2, 0, 0]);
  assert.deepEqual(trackColour({ palette }, track({ id: 14 }), "class", [2, 0, 0]), [2, 0, 0].map((_, i) => (i ? 0 : 2)));
});

test("the first mask sets its colour, the next one is blended over it", () => {
  /** @type {Shape} */
  const shape = { x: 1, y: 1, w: 2, h: 1, bits: Uint8Array.of(1, 1), edge: new Int32Array(0) };
  const pixels = new Uint32Array(4 * 3);
  fillShape(pixels, 4, { shape, rgb: [255, 0, 0] }, 0.5);
  assert.equal(pixels[5], 0x800000ff);
  assert.deepEqual([...pixels].map((pixel, i) => pixel && i).filter(Boolean), [5, 6]);
  fillShape(pixels, 4, { shape: { ...shape, w: 1, bits: Uint8Array.of(1) }, rgb: [0, 0, 255] }, 0.5);
  const [r, g, b, a] = new Uint8Array(pixels.buffer, 5 * 4, 4);
  assert(Math.abs(r - 85) <= 1 && g === 0 && Math.abs(b - 170) <= 1 && Math.abs(a - 191) <= 1);
});
