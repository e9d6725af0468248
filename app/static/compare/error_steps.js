// The bar above the player of Compare: the place in the list of errors, its neighbours, the way back to the list.

import { createButton, createElement, findPlayerIn, setPressed } from "../player/dom.js";

/** @import { Emit, ErrorSteps } from "../player/types.js" */

const MAX_TOP = 0.4; // of the window's height: below that too little of the pictures is seen

const findPlayer = () => findPlayerIn("#compare-player");

/**
 * @param {HTMLElement} element to fill
 * @param {Emit} emit sends an event to Python
 */
export function mountSteps(element, emit) {
  return new ErrorBar(element, emit);
}

class ErrorBar {
  /**
   * @param {HTMLElement} element
   * @param {Emit} emit
   */
  constructor(element, emit) {
    this.previous = createButton("‹", () => emit({ do: "previous" }), { class: "step", "aria-label": "Previous error", title: "Previous error (shift-e)" });
    this.next = createButton("›", () => emit({ do: "next" }), { class: "step", "aria-label": "Next error", title: "Next error (e)" });
    this.place = createElement("strong", { role: "status" });
    this.words = createElement("span", { class: "words" });
    this.arrived = true; // since the tab was opened, no error was shown yet
    /** @type {boolean | null} what `reveal` was called with before the tab was shown */
    this.missed = null;
    this.whole = createButton("Whole picture", () => this.toggleFocus(), { title: "The whole picture, or the error framed again (z)" });
    const back = createButton("Back to the list", () => emit({ do: "back" }));
    this.bar = createElement("div", { class: "error-steps", role: "group", "aria-label": "List of errors" },
      this.previous, this.place, this.next, this.words, this.whole, back);
    element.replaceChildren(this.bar);
    const tab = element.closest("#compare");
    if (!(tab instanceof HTMLElement)) return;
    new ResizeObserver(() => {
      if (!tab.offsetHeight) this.arrived = true;
      else if (this.missed !== null) this.reveal(this.missed);
    }).observe(tab);
    tab.addEventListener("zoom", () => this.showFocus()); // of the player, which may be mounted later
  }

  /** @param {ErrorSteps | null} steps null: there is no list */
  update(steps) {
    this.bar.hidden = !steps?.of;
    if (!steps) return;
    const { place, of, complete, type, classes, colour } = steps;
    this.place.textContent = place === null ? `${of} error${of === 1 ? "" : "s"}` : `${place + 1} of ${of}`;
    this.previous.disabled = !steps.previous;
    this.next.disabled = !steps.next;
    this.words.replaceChildren(...(type ? [createDot(colour), type, createElement("span", {}, classes)] : []));
    this.showFocus();
    if (place !== null && this.arrived) this.reveal(complete);
  }

  /**
   * The list, from which the tab was opened, may have been scrolled far down: bar and pictures come into view.
   * @param {boolean} last whether nothing else will move them
   */
  reveal(last) {
    const { top, height } = this.bar.getBoundingClientRect();
    this.missed = height ? null : last;
    if (!height) return;
    if (last) this.arrived = false;
    if (top < 0 || top > innerHeight * MAX_TOP) this.bar.scrollIntoView({ block: "start" });
  }

  showFocus() {
    setPressed(this.whole, !findPlayer()?.panes.focused);
  }

  toggleFocus() {
    const player = findPlayer();
    if (player?.ready) player.panes.setFocus(!player.panes.focused);
  }
}

/** @param {string} colour */
function createDot(colour) {
  const dot = createElement("i", {});
  dot.style.background = colour; // an attribute would need another content security policy
  return dot;
}
