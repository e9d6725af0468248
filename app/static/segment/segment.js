// The tab Segment beside its player: the list of tracks, the plot of scores, the address.

import { partOfPlot, updateAddress } from "../page/page.js";
import { targetOf } from "../player/dom.js";

/** @import { Emit } from "../player/types.js" */

/**
 * @param {HTMLElement} element
 * @param {Emit} emit sends an event to Python
 */
export function mountTracks(element, emit) {
  element.addEventListener("click", (event) => {
    const row = targetOf(event).closest("[data-track]");
    if (row instanceof HTMLElement) emit({ track: Number(row.dataset.track) });
  });
}

/**
 * @param {HTMLElement} element
 * @param {Emit} emit
 */
export function mountPlot(element, emit) {
  element.addEventListener("click", (event) => {
    const part = partOfPlot(event);
    if (part !== null) emit({ part });
  });
}

/** @param {string} token of the run that is shown, "" for none */
export function showAddress(token) {
  updateAddress((parameters) => (token ? parameters.set("run", token) : parameters.delete("run")));
}

/** @param {string} query the filter of the tracks and the range of frames, "" for none */
export function showFilter(query) {
  updateAddress((parameters) => (query ? parameters.set("shown", query) : parameters.delete("shown")));
}
