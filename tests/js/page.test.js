import assert from "node:assert/strict";
import { test } from "node:test";
import { withPrimitivesAsTheyAre } from "../../app/static/page/page.js";

test("values are cloned as by structuredClone", () => {
  let calls = 0;
  const clone = withPrimitivesAsTheyAre((value, options) => {
    calls++;
    return structuredClone(value, options);
  });
  for (const value of [1, NaN, "text", true, undefined, 2n]) assert.ok(Object.is(clone(value), value));
  assert.equal(calls, 0);
  const value = { list: [1, "a", null], at: new Date(0) };
  assert.deepEqual(clone(value), value);
  assert.notEqual(clone(value), value);
  assert.equal(clone(null), null);
  for (const wrong of [() => 1, Symbol("a"), { act: () => 1 }]) assert.throws(() => clone(wrong), { name: "DataCloneError" });
});
