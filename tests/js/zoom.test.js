// Zooming and panning of the player's picture, and how masks are drawn under a zoom.

import assert from "node:assert/strict";
import { test } from "node:test";

import { encodeMask } from "../../app/static/player/rle.js";
import { maskShape } from "../../app/static/player/shapes.js";
import { bothParts, frameOn, litBox, panBy, shows, WHOLE, zoomAt } from "../../app/static/player/zoom.js";

/** @param {{ scale: number, x: number, y: number }} zoom */
const rounded = ({ scale, x, y }) => [scale, x, y].map((value) => Math.round(value * 1e6) / 1e6);

test("the place under the pointer stays there, within the picture", () => {
  const zoom = zoomAt(WHOLE, 2, 0.5, 0.25);
  assert.deepEqual(rounded(zoom), [2, 0.25, 0.125]);
  assert.deepEqual(rounded(zoomAt(zoom, 0.5, 0.5, 0.25)), [1, 0, 0]);
  assert.deepEqual(rounded(zoomAt(zoom, 0.01, 1, 1)), [1, 0, 0]);
  assert.equal(zoomAt(WHOLE, 1000, 0, 0).scale, 12);
});

test("panning stops at the picture's border", () => {
  const zoom = zoomAt(WHOLE, 4, 0, 0);
  assert.deepEqual(rounded(panBy(zoom, -0.4, -0.8)), [4, 0.1, 0.2]);
  assert.deepEqual(rounded(panBy(zoom, 1, 1)), [4, 0, 0]);
  assert.deepEqual(rounded(panBy(zoom, -9, -9)), [4, 0.75, 0.75]);
});

test("an object is framed in the middle, with its surroundings", () => {
  assert.deepEqual(rounded(frameOn({ x: 0.4, y: 0.4, w: 0.2, h: 0.2 })), [2.5, 0.3, 0.3]);
  assert.deepEqual(rounded(frameOn({ x: 0, y: 0, w: 0.1, h: 0.1 })), [4, 0, 0]);
  assert.equal(frameOn({ x: 0.1, y: 0.1, w: 0.8, h: 0.3 }), WHOLE);
  assert.equal(frameOn(null), WHOLE);
  assert.deepEqual(bothParts({ x: 1, y: 5, w: 2, h: 1 }, { x: 2, y: 2, w: 3, h: 1 }), { x: 1, y: 2, w: 4, h: 4 });
});

test("a framed part is shown completely until it leaves the view", () => {
  const part = { x: 0.4, y: 0.4, w: 0.2, h: 0.1 }, zoom = frameOn(part);
  assert.deepEqual(rounded(zoom), [2.5, 0.3, 0.25]);
  assert(shows(zoom, part) && shows(WHOLE, part));
  assert(shows(zoom, { ...part, x: 0.5 }) && !shows(zoom, { ...part, x: 0.51 }));
  assert(!shows(zoom, { ...part, x: 0.29 }) && !shows(zoom, { ...part, y: 0.24 }) && !shows(zoom, { ...part, y: 0.56 }));
});

test("the lit box lies around the part, with a margin, in pixels of the canvas", () => {
  const part = { x: 0.4, y: 0.4, w: 0.2, h: 0.1 };
  /** @param {{ x: number, y: number, w: number, h: number }} box */
  const values = ({ x, y, w, h }) => [x, y, w, h].map((value) => Math.round(value * 1e6) / 1e6);
  assert.deepEqual(values(litBox(part, WHOLE, 1000, 500)), [350, 150, 300, 150], "a quarter of the longer side");
  assert.deepEqual(values(litBox(part, { scale: 2, x: 0.3, y: 0.3 }, 1000, 500)), [100, 0, 600, 300]);
  assert.deepEqual(values(litBox({ x: 0, y: 0, w: 0.01, h: 0.01 }, WHOLE, 1000, 500)), [-16, -16, 42, 37], "16 pixels at least");
});

test("a mask is drawn as large as the picture below it, and cut off at the canvas", () => {
  const bits = new Uint8Array(10 * 20);
  for (let y = 4; y < 8; y++) bits.fill(1, y * 20 + 8, y * 20 + 14);
  const text = encodeMask(bits, [10, 20]);
  /** @param {{ scale: number, x: number, y: number }} zoom */
  const box = (zoom) => {
    const shape = maskShape(text, [10, 20], 40, 20, zoom);
    return shape && [shape.x, shape.y, shape.w, shape.h];
  };
  assert.deepEqual(box(WHOLE), [16, 8, 12, 8]);
  assert.deepEqual(box({ scale: 2, x: 0.25, y: 0.25 }), [12, 6, 24, 14]);
  assert.equal(box({ scale: 4, x: 0, y: 0 }), null);
});
