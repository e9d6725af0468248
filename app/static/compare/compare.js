// The tab Compare beside its player: matches and pictures, keys for the next video, the address.

import { partOfPlot, updateAddress } from "../page/page.js";
import { targetOf } from "../player/dom.js";

/** @import { Emit } from "../player/types.js" */

const PARAMETERS = ["data", "video", "frame", "model", "truth", "prediction", "side", "layout", "error", "range"];
const TYPING = "input:not([type=radio]):not([type=range]), textarea, dialog[open]";
const BUTTONS = new Map([["n", "Next video"], ["p", "Previous video"], ["e", "Next error"], ["shift-e", "Previous error"], ["z", "Whole picture"]]);

/**
 * @param {HTMLElement} element with matches, pictures or a plot
 * @param {Emit} emit sends an event to Python
 */
export function mountMatches(element, emit) {
  element.addEventListener("click", (event) => {
    const row = targetOf(event).closest("[data-key]"), picture = targetOf(event).closest("[data-frame]"), part = partOfPlot(event);
    if (row instanceof HTMLElement) emit({ key: row.dataset.key });
    else if (picture instanceof HTMLElement) emit({ frame: Number(picture.dataset.frame) });
    else if (part !== null) emit({ part });
  });
}

export function mountKeys() {
  document.addEventListener("keydown", (event) => {
    const name = BUTTONS.get(event.shiftKey ? `shift-${event.key.toLowerCase()}` : event.key), tab = document.querySelector("#compare");
    if (!name || event.ctrlKey || event.metaKey || event.altKey || !(tab instanceof HTMLElement) || !tab.offsetParent) return;
    if (targetOf(event).closest(TYPING)) return;
    [...tab.querySelectorAll("button")].find((button) => (button.ariaLabel ?? button.textContent?.trim()) === name)?.click();
  });
}

/** @param {string} query the view */
export function showAddress(query) {
  updateAddress((parameters) => {
    for (const name of PARAMETERS) parameters.delete(name);
    for (const [name, value] of new URLSearchParams(query)) parameters.append(name, value);
  });
}
