// The parts of the tab Errors: presses, selections and keys go to Python, whose answer replaces the parts.

import { targetOf } from "../player/dom.js";
import { newestAnswer } from "./answers.js";
import { Plots } from "./plots.js";

/** @import { Emit } from "../player/types.js" */

const TYPING = "input:not([type=range]), textarea, select, dialog[open], [contenteditable]";
const ARROWS = new Map([["ArrowRight", 1], ["ArrowDown", 1], ["ArrowLeft", -1], ["ArrowUp", -1]]);

/**
 * @param {HTMLElement} element a part of the tab
 * @param {string} root address of the studio
 * @param {Emit} emit sends an event to Python
 */
export function mount(element, root, emit) {
  window.tevitErrors = { newestAnswer };
  return new Part(element, root, emit);
}

/**
 * The nearest element around the target of an event.
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
function closest(event, selector) {
  return targetOf(event).closest(selector);
}

class Part {
  /**
   * @param {HTMLElement} element
   * @param {string} root
   * @param {Emit} emit
   */
  constructor(element, root, emit) {
    this.element = element;
    this.emit = emit;
    this.plots = new Plots(element, root, emit);
    /** @type {string | null} what identifies the element that has the focus, or had it before it was replaced */
    this.focused = null;
    /** @type {number | null} the row to choose once more rows have arrived */
    this.nextRow = null;
    /** @type {string | undefined} the answer to which the list has gone to its row */
    this.revealed = undefined;
    /** @type {HTMLElement | null} */
    this.tip = null;

    element.addEventListener("click", (event) => this.press(closest(event, "[data-event], [data-word]")));
    element.addEventListener("focusin", (event) => this.onFocus(event));
    element.addEventListener("focusout", (event) => {
      if (event.relatedTarget instanceof Node && !element.contains(event.relatedTarget)) this.focused = null;
    });
    element.addEventListener("pointermove", (event) => this.onPointerMove(event));
    element.addEventListener("pointerleave", () => this.removeTip());
    document.addEventListener("pointerdown", (event) => {
      if (!element.contains(targetOf(event))) this.focused = null;
    });
    document.addEventListener("keydown", (event) => {
      if (element.isConnected) this.onKey(event);
    });
    this.update();
    if (element.closest("#errors-state") ?? element.querySelector("#errors-state")) this.beginWhenVisible();
  }

  /** The tab, or the part alone. */
  get tab() {
    return /** @type {HTMLElement} */ (this.element.closest("#errors") ?? this.element);
  }

  /** The first time the tab is visible, the evaluation begins. */
  beginWhenVisible() {
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      this.emit({ do: "begin" });
    });
    observer.observe(this.element);
  }

  /** @param {HTMLElement | null} button */
  press(button) {
    const event = button?.dataset.event ?? button?.dataset.word;
    if (event) this.emit(JSON.parse(event));
  }

  /** After an answer, which may have changed attributes alone. */
  onReplaced() {
    this.update();
    const row = this.nextRow === null ? undefined : this.rows()[this.nextRow];
    if (row) {
      this.chooseRow(row);
      this.nextRow = this.focused = null;
    }
    this.restoreFocus();
    if (this.tip && !this.tip.matches(":hover")) this.removeTip();
  }

  update() {
    this.markFilters();
    this.addTabStops();
    this.revealCurrent();
    this.plots.redraw();
  }

  /** The filter is stated in one place; the pressed state of all parts follows it. */
  markFilters() {
    const bar = this.tab.querySelector("[data-active-filter]");
    const filter = bar instanceof HTMLElement ? JSON.parse(bar.dataset.activeFilter ?? "{}") : {};
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.tab.querySelectorAll("[data-filter]"))) {
      const own = JSON.parse(button.dataset.filter ?? "{}");
      const pressed = String(Object.keys(own).every((name) => JSON.stringify(own[name]) === JSON.stringify(filter[name])));
      if (button.getAttribute("aria-pressed") !== pressed) button.setAttribute("aria-pressed", pressed);
    }
  }

  // --- focus, which stays where it was when a part is replaced

  /** @param {FocusEvent} event */
  onFocus(event) {
    const item = closest(event, "[data-row], [data-event]"), row = closest(event, "[data-row]");
    this.focused = item && identify(item);
    if (row && row !== this.currentRow()) this.chooseRow(row, false);
  }

  restoreFocus() {
    if (!this.focused || document.activeElement !== document.body) return;
    const items = /** @type {HTMLElement[]} */ ([...this.element.querySelectorAll("[data-row], [data-event]")]);
    items.find((item) => identify(item) === this.focused)?.focus({ preventScroll: true });
  }

  /** A plot is one stop for the tabulator key; arrows move within it. */
  addTabStops() {
    for (const plot of this.element.querySelectorAll("[data-rove]")) {
      if (plot.querySelector("[tabindex]")) continue;
      plot.querySelectorAll("[data-event]").forEach((button, i) => button.setAttribute("tabindex", i ? "-1" : "0"));
    }
  }

  /**
   * @param {Element} plot
   * @param {Element} from
   * @param {string} key
   */
  moveWithin(plot, from, key) {
    const buttons = /** @type {HTMLElement[]} */ ([...plot.querySelectorAll("[data-event]")]);
    const next = buttons[buttons.findIndex((button) => button === from) + (ARROWS.get(key) ?? NaN)];
    if (!next) return;
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  }

  // --- the list of errors

  rows() {
    return /** @type {HTMLElement[]} */ ([...this.element.querySelectorAll("ol.errors [data-row]")]);
  }

  /** @returns {HTMLElement | null} */
  currentRow() {
    return this.element.querySelector("[data-row][aria-current]");
  }

  /**
   * @param {HTMLElement} row
   * @param {boolean} focus
   */
  chooseRow(row, focus = true) {
    for (const other of this.rows()) {
      other.tabIndex = other === row ? 0 : -1;
      if (other === row) other.setAttribute("aria-current", "true");
      else other.removeAttribute("aria-current");
    }
    if (focus) row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  /** Go to the row that Compare has shown, as soon as the tab is visible. */
  revealCurrent() {
    const list = this.element.querySelector("ol[data-reveal]");
    if (!(list instanceof HTMLElement) || list.dataset.reveal === this.revealed) return;
    this.revealed = list.dataset.reveal;
    const observer = new ResizeObserver(() => {
      if (!list.offsetHeight && list.isConnected) return;
      observer.disconnect();
      const row = this.currentRow();
      if (!row) return;
      this.chooseRow(row);
      row.scrollIntoView({ block: "center" });
    });
    observer.observe(list);
  }

  /** Choose the next or previous row; after the last one, more are requested. @param {number} count */
  stepRows(count) {
    const rows = this.rows(), index = rows.findIndex((row) => row === this.currentRow());
    const next = rows[index < 0 ? 0 : index + count];
    if (next) return this.chooseRow(next);
    const more = this.element.querySelector(".more:not(.earlier)");
    if (index < 0 || count < 0 || !(more instanceof HTMLElement) || this.nextRow !== null) return;
    this.nextRow = index + 1;
    more.click();
  }

  /**
   * j and k everywhere in the tab; arrows and enter where the part has the focus.
   * @param {KeyboardEvent} event
   */
  onKey(event) {
    // Not the element itself: with display: contents it has no offsetParent.
    if (event.ctrlKey || event.metaKey || event.altKey || !this.tab.offsetParent) return;
    const target = targetOf(event), inside = this.element.contains(target);
    const item = inside ? closest(event, "[data-event]:not(button)") : null, plot = inside ? closest(event, "[data-rove]") : null;
    if (item && [" ", "Enter"].includes(event.key)) {
      event.preventDefault();
      return this.press(item);
    }
    if (plot && event.key.startsWith("Arrow")) {
      event.preventDefault();
      return this.moveWithin(plot, target, event.key);
    }
    if (!this.element.querySelector("ol.errors") || target.closest(TYPING)) return;
    const steps = new Map([["j", 1], ["k", -1], ...(inside ? /** @type {const} */ ([["ArrowDown", 1], ["ArrowUp", -1]]) : [])]);
    const count = steps.get(event.key);
    if (count) {
      event.preventDefault();
      return this.stepRows(count);
    }
    const row = closest(event, "[data-row]") ?? (target === document.body ? this.currentRow() : null);
    if (event.key === "Enter" && row && !target.closest("button")) this.emit({ do: "open", row: row.dataset.row });
  }

  // --- tooltips

  /** @param {PointerEvent} event */
  onPointerMove(event) {
    const item = closest(event, "[data-tip]");
    if (!item || event.pointerType !== "mouse") return this.removeTip();
    if (!this.tip) {
      this.tip = Object.assign(document.createElement("div"), { className: "errors-tip" });
      document.body.append(this.tip);
    }
    this.tip.textContent = item.dataset.tip ?? "";
    const left = Math.min(event.clientX + 14, innerWidth - this.tip.offsetWidth - 8);
    this.tip.style.transform = `translate(${left}px, ${Math.min(event.clientY + 16, innerHeight - this.tip.offsetHeight - 8)}px)`;
  }

  removeTip() {
    this.tip?.remove();
    this.tip = null;
  }
}

/** @param {HTMLElement} item */
function identify(item) {
  return item.dataset.row ?? item.dataset.event ?? null;
}
