// What merging, cutting and taking do, in words, before they are confirmed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { cutWords, mergeWords, takeWords } from "../../app/static/review/lanes.js";

/** @param {number} id @param {[number, number][]} seen @param {string} label */
const track = (id, seen, label = "dog") => ({ id, label, seen, category: 1, score: 1 });

test("merging names both tracks and their frames; a choice only where both have a mask", () => {
  const { title, lines, choices } = mergeWords(track(3, [[0, 10]]), track(7, [[8, 12], [20, 21]], "cat"));
  assert.equal(title, "Merge track 7 (cat) into track 3 (dog)?");
  assert.deepEqual(lines, [
    "The masks of track 7 in frames 8 to 11 and 20 become masks of track 3; track 7 ends.",
    "The class stays dog.",
    "Both have a mask in frames 8, 9. There counts:",
  ]);
  assert.deepEqual(choices?.map(([value]) => value), ["union", "track", "other"]);
  const apart = mergeWords(track(3, [[0, 4]]), track(7, [[6, 8]]));
  assert.equal(apart.choices, undefined);
  assert.equal(apart.lines.at(-1), "In no frame both have a mask.");
});

test("a cut needs a mask on both sides", () => {
  assert.equal(cutWords(track(3, [[4, 9]]), 4), null);
  assert.equal(cutWords(track(3, [[4, 9]]), 9), null);
  assert.deepEqual(cutWords(track(3, [[4, 9]]), 6)?.lines, ["Its masks in frames 4, 5 stay track 3; those in frames 6 to 8 become a new track."]);
});

test("taking names the range, or that it is all frames", () => {
  assert.equal(takeWords(track(3, []), track(31, []), [5, 9]).action, "Take frames 5 to 9");
  assert.equal(takeWords(track(3, []), track(31, []), null).action, "Take all frames");
});
