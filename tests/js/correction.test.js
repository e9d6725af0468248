// Corrections of one track: edits, proposals, undo and redo, drafts.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Correction, frameWords, isStored, storedFrames } from "../../app/static/review/correction.js";

/** A track that is present in its first five frames. */
const begin = () => new Correction([2, 3], 10, (frame) => (frame < 5 ? `own${frame}` : ""));

test("a frame has its edit, else its proposal, else the track's own mask", () => {
  const correction = begin();
  assert.equal(correction.mask(3), "own3");
  correction.propose(new Map([[3, { text: "proposed", confidence: 0.8 }]]));
  assert.equal(correction.mask(3), "proposed");
  correction.setMask(3, "edit");
  assert.equal(correction.mask(3), "edit");
  assert.equal(correction.mask(7), "");
  assert.deepEqual(correction.frames, [3]);
});

test("every change can be undone and done again, step by step, in any frame", () => {
  const correction = begin();
  correction.setMask(2, "a");
  correction.setMask(8, "b");
  correction.setMask(2, "c");
  assert.equal(correction.undo(), 2);
  assert.equal(correction.mask(2), "a");
  assert.equal(correction.undo(), 8);
  assert.equal(correction.mask(8), "");
  assert.equal(correction.redo(), 8);
  assert.equal(correction.mask(8), "b");
  correction.setMask(1, "d");
  assert.equal(correction.redo(), null, "a new change ends redo");
  for (const frame of [1, 8, 2]) assert.equal(correction.undo(), frame);
  assert.equal(correction.undo(), null);
  assert.deepEqual(correction.frames, []);
});

test("many masks at once are one step", () => {
  const correction = begin();
  correction.setMasks(new Map([[1, "a"], [2, "b"], [99, "outside"]]));
  assert.deepEqual(correction.frames, [1, 2]);
  assert.equal(correction.undo(), 1);
  assert.deepEqual(correction.frames, []);
});

test("proposals count only once they are accepted, and then as one step", () => {
  const correction = begin();
  correction.setMask(4, "edit");
  correction.propose(new Map([2, 3, 4, 5, 6, 7, 99].map((frame) => [frame, { text: `new${frame}`, confidence: 0.5 }])));
  assert.equal(correction.proposals.has(4), false, "an edit is not replaced");
  assert.deepEqual(correction.toDraft().masks, { 4: "edit" });
  assert.equal(correction.reject(7, 9), 1);
  assert.equal(correction.accept(0, 5), 3);
  assert.deepEqual(correction.frames, [2, 3, 4, 5]);
  assert.deepEqual(correction.proposed(0, 9), [6]);
  correction.undo();
  assert.deepEqual(correction.frames, [4]);
  assert.deepEqual(correction.proposed(0, 9), [2, 3, 5, 6], "they are proposals again");
});

test("reverting gives frames their own masks again", () => {
  const correction = begin();
  correction.setMasks(new Map([[1, "a"], [2, "b"]]));
  correction.propose(new Map([[3, { text: "c", confidence: 1 }]]));
  correction.revert([1, 3, 4]);
  assert.deepEqual([1, 2, 3].map((frame) => correction.mask(frame)), ["own1", "b", "own3"]);
  correction.undo();
  assert.deepEqual([1, 2, 3].map((frame) => correction.mask(frame)), ["a", "b", "c"]);
});

test("listeners are called once a change, and not for none", () => {
  const correction = begin();
  let calls = 0;
  const listener = () => calls++;
  correction.listen(listener);
  correction.listen(listener);
  correction.setMask(1, "a");
  correction.undo();
  correction.redo();
  assert.equal(calls, 3);
  correction.undo();
  correction.undo();
  correction.accept(0, 9);
  correction.revert([5]);
  assert.equal(calls, 4);
});

test("edits, proposals and what is under way go through the browser's storage and back", () => {
  const correction = begin(), again = begin();
  correction.setMasks(new Map([[1, "a"], [7, "b"]]));
  correction.propose(new Map([[3, { text: "c", confidence: 0.7 }]]));
  correction.setPending({ click: { frame: 2, text: "d", points: [[1, 1, true]], box: null }, range: [4, 6], from: 7 });
  const stored = JSON.parse(JSON.stringify(correction.toStored()));
  assert.deepEqual(storedFrames(stored), [1, 2, 3, 7]);
  assert.ok(isStored(stored, [2, 3]));
  again.restore(stored);
  assert.deepEqual([again.frames, again.mask(7), again.mask(3), again.proposals.get(3)?.confidence], [[1, 7], "b", "c", 0.7]);
  assert.deepEqual(again.pending, correction.pending);
  assert.deepEqual(Object.keys(again.toDraft()), ["do", "size", "masks"], "the others are not saved with a decision");
  assert.equal(isStored(stored, [3, 2]), false);
  for (const other of [null, {}, { do: "mask" }, { do: "masks", size: [2, 3], masks: {} }]) assert.equal(isStored(other, [2, 3]), false);
  assert.ok(isStored({ ...stored, masks: {} }, [2, 3]), "proposals alone");
});

test("there is something to keep while a proposal or a propagation is under way", () => {
  const correction = begin();
  assert.ok(correction.isEmpty);
  correction.setPending({ range: [1, 2], from: 0 });
  assert.ok(!correction.isEmpty);
  correction.setPending({ range: undefined, from: undefined });
  assert.ok(correction.isEmpty);
  correction.propose(new Map([[3, { text: "c", confidence: 0.7 }]]));
  assert.ok(!correction.isEmpty);
});

test("frames in words", () => {
  assert.equal(frameWords([4]), "frame 4");
  assert.equal(frameWords([4, 5]), "frames 4, 5");
  assert.equal(frameWords([4, 9, 10, 11, 12]), "frames 4 and 9 to 12");
  assert.equal(frameWords([1, 3, 7, 8, 9]), "frames 1, 3 and 7 to 9");
});
