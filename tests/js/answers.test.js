// Answers of the server that arrive in another order than they were sent.

import assert from "node:assert/strict";
import { test } from "node:test";

import { newestAnswer } from "../../app/static/errors/answers.js";

test("an answer that is older than the one shown is dropped", () => {
  assert.equal(newestAnswer("bar", 1, "first"), "first");
  assert.equal(newestAnswer("bar", 3, "third"), "third");
  assert.equal(newestAnswer("bar", 2, "second"), "third");
  assert.equal(newestAnswer("bar", 3, "third again"), "third again");
});

test("each part has turns of its own", () => {
  assert.equal(newestAnswer("plots", 9, "plots"), "plots");
  assert.equal(newestAnswer("rows", 4, "rows"), "rows");
});
