// Click to segment: points on the object and beside it, or a box, propose a mask on the frame that is shown. Enter accepts
// it, Escape rejects it.

import { createElement } from "../player/dom.js";

/** @import { MaskEditor } from "./brush.js" */
/** @import { ClickProposal, Point } from "../player/types.js" */
/** @typedef {[x: number, y: number, on: boolean]} Click on: whether it is on the object */
/** @typedef {[x1: number, y1: number, x2: number, y2: number]} Box */

const MIN_DRAG = 4; // CSS pixels: a shorter drag is a click
const HELP = "Click the object; shift or alt and click what does not belong to it; drag a box around it.";

export class ClickSegmenter {
  /** @param {MaskEditor} editor */
  constructor(editor) {
    this.editor = editor;
    /** @type {Click[]} */
    this.clicks = [];
    /** @type {Box | null} */
    this.box = null;
    this.frame = -1; // that they are in; -1: there is no proposal
    this.requests = 0; // sent, so that an answer to an earlier one is dropped
    this.name = createElement("span", { class: "brush-segmenter" });
    editor.addTool({ tool: "click", label: "Click", key: "i", press: (point, event) => this.onPress(point, event), chosen: () => editor.say(HELP) });
    editor.actions.append(this.name);
    editor.onFrame(() => this.reject());
    editor.onOpen(() => this.restore());
    editor.onClose(() => this.forget());
    editor.beforeKey((event) => this.keyAction(event));
    this.fetchName();
  }

  async fetchName() {
    const response = await fetch(`${this.editor.player.root}/studio/segmenter`);
    if (response.ok) this.name.textContent = `Masks by ${(await response.json()).name}`;
  }

  /**
   * @param {Point} start
   * @param {PointerEvent} event
   */
  onPress(start, event) {
    const { editor } = this, { canvas } = editor, controller = new AbortController(), { signal } = controller;
    /** @param {PointerEvent} move */
    const isDrag = (move) => Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) > MIN_DRAG;
    canvas.setPointerCapture(event.pointerId);
    canvas.addEventListener("pointermove", (move) => isDrag(move) && editor.drawPrompts({ points: this.clicks, box: boxOf(start, editor.pointOf(move)) }), { signal });
    canvas.addEventListener("pointercancel", () => controller.abort(), { signal });
    canvas.addEventListener("pointerup", (up) => {
      controller.abort();
      if (this.frame !== editor.frame) this.clear();
      this.frame = editor.frame;
      if (isDrag(up)) this.box = boxOf(start, editor.pointOf(up));
      else this.clicks.push([...start, !(event.shiftKey || event.altKey)]);
      this.request();
    }, { signal });
  }

  /** Compute the mask of all points and the box. */
  async request() {
    const { editor, frame, clicks, box } = this, { player, correction } = editor, number = ++this.requests;
    if (!box && !clicks.some(([, , on]) => on)) return editor.say("Click the object first, then what does not belong to it.");
    editor.drawPrompts({ points: clicks, box });
    editor.say("Computing the mask …");
    const body = JSON.stringify({ frame, points: clicks, box });
    let text = "", failure = "";
    try {
      const response = await fetch(`${player.root}/studio/review/${player.view?.token}/propose`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (response.ok) text = (await response.json()).counts;
      else failure = await response.text();
    } catch {
      failure = "The studio does not answer.";
    }
    if (number !== this.requests || frame !== editor.frame || !editor.opened || correction !== editor.correction) return;
    if (failure) return editor.say(failure, "error");
    this.show({ frame, text, points: clicks, box });
  }

  /** @param {ClickProposal} proposal */
  show(proposal) {
    const { text, points, box } = proposal;
    this.editor.preview(text, { points, box });
    this.editor.correction.setPending({ click: proposal });
    this.editor.say("Proposed: enter accepts it, esc rejects it, more clicks improve it.");
  }

  /** The proposal that was on this frame when the correction was closed, or the page. */
  restore() {
    const { click } = this.editor.correction.pending;
    if (!click || click.frame !== this.editor.frame) return;
    Object.assign(this, { frame: click.frame, clicks: click.points, box: click.box });
    this.show(click);
  }

  accept() {
    const { previewed } = this.editor;
    this.clear();
    if (previewed !== null) this.editor.correction.setMask(this.editor.frame, previewed);
    this.editor.say("Accepted.");
  }

  /** Back to the mask before; nothing happens where none is proposed. */
  reject() {
    if (this.frame >= 0) this.clear();
  }

  clear() {
    this.forget();
    this.editor.correction.setPending({ click: undefined });
  }

  /** The editor is closed: the correction keeps the proposal. */
  forget() {
    Object.assign(this, { clicks: [], box: null, frame: -1 });
    this.requests++;
    this.editor.preview(null);
  }

  /**
   * @param {KeyboardEvent} event
   * @returns {(() => void) | null}
   */
  keyAction({ key }) {
    if (this.frame < 0) return null;
    if (key === "Escape") return () => {
      this.reject();
      this.editor.say("Rejected.");
    };
    return key === "Enter" && this.editor.previewed !== null ? () => this.accept() : null;
  }
}

/**
 * @param {Point} a
 * @param {Point} b
 * @returns {Box}
 */
export function boxOf([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}
