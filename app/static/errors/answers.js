// The server numbers its answers to what is pressed; one that arrives after a newer one is dropped.

import { updateAddress } from "../page/page.js";

/** @type {Map<string, { turn: number, value: unknown }>} */
const newest = new Map();

/**
 * The newest answer for a part of the tab, which is `value` unless a newer one has arrived before it.
 * @template T
 * @param {string} part
 * @param {number} turn
 * @param {T} value
 * @returns {T}
 */
export function newestAnswer(part, turn, value) {
  const known = newest.get(part);
  if (known && turn < known.turn) return /** @type {T} */ (known.value);
  newest.set(part, { turn, value });
  return value;
}

/**
 * Show what was chosen in the page's address.
 * @param {string} answer turn and query: "3?data=…&errors=…"
 */
export function showAddress(answer) {
  const [turn, query] = answer.split("?");
  updateAddress((parameters) => {
    parameters.delete("errors");
    for (const [name, value] of new URLSearchParams(newestAnswer("address", Number(turn), query))) parameters.set(name, value);
  });
}
