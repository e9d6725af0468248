// The cache of masks, shapes and pictures.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LruCache } from "../../app/static/player/lru.js";

test("the least recently used entry goes first", () => {
  /** @type {number[]} */
  const evicted = [];
  /** @type {LruCache<string, number>} */
  const cache = new LruCache(2, { onEvict: (value) => evicted.push(value) });
  cache.set("a", 1);
  cache.set("b", 2);
  assert.equal(cache.get("a"), 1);
  cache.set("c", 3);
  assert.deepEqual([cache.peek("a"), cache.peek("b"), cache.peek("c")], [1, undefined, 3]);
  assert.deepEqual(evicted, [2]);
  cache.clear();
  assert.deepEqual(evicted, [2, 1, 3]);
});

test("entries count by weight, and the newest stays whatever it weighs", () => {
  /** @type {LruCache<string, number>} */
  const cache = new LruCache(10, { weigh: (value) => value });
  cache.set("a", 4);
  cache.set("b", 5);
  cache.set("a", 6);
  assert.deepEqual([cache.peek("a"), cache.peek("b"), cache.weight], [6, undefined, 6]);
  cache.set("c", 50);
  assert.deepEqual([cache.peek("a"), cache.peek("c"), cache.weight], [undefined, 50, 50]);
});
