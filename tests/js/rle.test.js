// Run lengths against strings that pycocotools has written.

import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeCounts, decodeMask, encodeCounts, encodeMask } from "../../app/static/player/rle.js";

/** @import { SizeHW } from "../../app/static/player/types.js" */

/** @typedef {{ name: string, size: SizeHW, text: string, inside: (x: number, y: number) => boolean | number }} Case */

const NOISE = ["01110000000", "10101001111", "00010000011", "00110010101", "10101001011", "11011111010", "10110010110", "00101001000", "10001000100"];

/** @type {Case[]} */
const CASES = [
  { name: "empty", size: [4, 5], text: "d0", inside: () => false },
  { name: "full", size: [4, 5], text: "0d0", inside: () => true },
  { name: "rectangle", size: [6, 8], text: "=3300000;", inside: (x, y) => y >= 1 && y < 4 && x >= 2 && x < 6 },
  { name: "single pixels", size: [5, 7], text: "01`0000", inside: (x, y) => ["0,0", "6,4", "3,2"].includes(`${x},${y}`) },
  { name: "disc", size: [40, 50], text: "j`05P16K4M2N2N2O0O2O000O2O00000001N10001N101N2N2N3L5Ja>", inside: (x, y) => (y - 20) ** 2 + (x - 25) ** 2 < 150 },
  { name: "noise", size: [9, 11], text: "1122OO3OO1N0000O01002OO1O04O10K12OO1OO10O010O00101211", inside: (x, y) => NOISE[y][x] === "1" },
  { name: "counts of several characters", size: [3000, 2], text: "T3P[2\\]3", inside: (x, y) => x === 0 && y >= 100 && y < 2500 },
];

/** @param {Case} mask */
function draw({ size: [height, width], inside }) {
  return Uint8Array.from({ length: height * width }, (_, i) => Number(inside(i % width, Math.floor(i / width))));
}

for (const mask of CASES) {
  test(`${mask.name}: decoding and encoding agree with pycocotools`, () => {
    const bits = draw(mask);
    assert.equal(encodeMask(bits, mask.size), mask.text);
    assert.deepEqual(decodeMask(mask.text, mask.size), bits);
    assert.equal(encodeCounts(decodeCounts(mask.text)), mask.text);
  });
}

test("counts add up to the pixels of the mask", () => {
  for (const { size: [height, width], text } of CASES) {
    assert.equal(decodeCounts(text).reduce((sum, count) => sum + count, 0), height * width);
  }
});

test("random masks survive a round trip", () => {
  let seed = 1;
  const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  for (let round = 0; round < 50; round++) {
    /** @type {SizeHW} */
    const size = [1 + Math.floor(random() * 40), 1 + Math.floor(random() * 40)];
    const density = random(), bits = Uint8Array.from({ length: size[0] * size[1] }, () => Number(random() < density));
    assert.deepEqual(decodeMask(encodeMask(bits, size), size), bits);
  }
});

test("no text is no mask", () => {
  assert.deepEqual(decodeMask("", [2, 3]), new Uint8Array(6));
});
