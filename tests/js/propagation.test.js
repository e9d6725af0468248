// The words and ranges of a propagation, and the box of a drag.

import assert from "node:assert/strict";
import { test } from "node:test";

import { progressWords, resultWords, targetRange } from "../../app/static/review/propagation.js";
import { boxOf } from "../../app/static/review/segment.js";

/** @param {number[]} frames */
const keys = (...frames) => new Map(frames.map((frame) => [frame, "mask"]));

test("without a range it goes between the outer key frames, from a single one everywhere", () => {
  assert.equal(targetRange(keys(), 30, [3, 9]), null);
  assert.deepEqual(targetRange(keys(4, 20, 11), 30, null), [4, 20]);
  assert.deepEqual(targetRange(keys(4), 30, null), [0, 29]);
  assert.deepEqual(targetRange(keys(4), 30, [4, 4]), [0, 29]);
  assert.deepEqual(targetRange(keys(4, 20), 30, [18, 25]), [18, 25]);
});

test("the result names the frames, the least sure one, and those that were left out", () => {
  const masks = [2, 3, 4].map((frame) => ({ frame, counts: "", confidence: 1 - frame / 10 }));
  assert.equal(resultWords(masks, [1, 4], keys(1)), "Proposed: frames 2 to 4, least sure in frame 4 (0.60). a accepts, r rejects.");
  assert.match(resultWords(masks, [1, 9], keys(1)), /Frames 5 to 9 left out: the confidence is too low there\./);
  assert.equal(resultWords([], [1, 2], keys(1)), "Nothing was proposed. Frame 2 left out: the confidence is too low there.");
  assert.equal(resultWords(masks, [2, 4], keys(2, 3, 4)), "Nothing was proposed.");
});

test("progress in words", () => {
  assert.equal(progressWords({ stage: "propagating", done: 3, total: 9, ahead: 0 }), "propagating: 3 of 9 frames");
  assert.equal(progressWords({ stage: "", ahead: 2 }), "Waiting for 2 requests of others …");
});

test("a box has its corners in order, wherever the drag began", () => {
  assert.deepEqual(boxOf([9, 2], [4, 7]), [4, 2, 9, 7]);
});
