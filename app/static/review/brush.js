// Correcting a track's masks on the player's picture: tools, keys, the tool bar. The masks are in a `Correction`. It works
// on the video's own pixels, so that what is drawn is what is saved.
//
// For other modules: `actions` (part of the tool bar for more buttons), `addTool`, `addKey`, `beforeKey`, `say`, `range`,
// `setRange`, `onRange`, `onFrame`, `onOpen`, `onClose`, `preview`; and `correction`, which draws whatever is set or proposed.

import { createKeyList } from "../player/controls.js";
import { context2d, createButton, createElement, setPressed, targetOf } from "../player/dom.js";
import { Correction, frameWords } from "./correction.js";
import { drawPolygon, drawStroke, fillHoles, fillRegion, growMask, maskBox, moveMask, scaleMask } from "./drawing.js";
import { decodeMask, encodeMask } from "../player/rle.js";

/** @import { Player } from "../player/player.js" */
/** @import { Pane } from "../player/panes.js" */
/** @import { FrameRange, Point, SizeHW, TrackRef } from "../player/types.js" */
/** @typedef {{ at: Point, start: Point, bits: Uint8Array }} Drag bits: the mask before */
/** @typedef {{ tool: string, label: string, key: string, press?: (point: Point, event: PointerEvent) => void, chosen?: () => void }} Tool */
/** @typedef {{ points: [x: number, y: number, on: boolean][], box: [x1: number, y1: number, x2: number, y2: number] | null }} Prompts */
/** @typedef {{ words: string, action: () => void }} Key */

/** @type {Tool[]} */
const TOOLS = [
  { tool: "brush", label: "Brush", key: "b" }, { tool: "eraser", label: "Eraser", key: "e" }, { tool: "polygon", label: "Polygon", key: "y" },
  { tool: "fill", label: "Fill", key: "f" }, { tool: "move", label: "Move", key: "v" }, { tool: "scale", label: "Scale", key: "s" }, { tool: "pan", label: "Pan", key: "h" },
];
const KEYS = [["- =", "brush size, also shift and the wheel"], ["[ ]", "first, last frame of the range"], ["ctrl-z ctrl-shift-z", "undo, redo by stroke"], ["enter", "close the polygon, save the decision"], ["esc", "close"]];
const MAX_RADIUS = 80;
const CORNER_REACH = 6; // CSS pixels
const COLOUR = [255, 214, 10, 150], PROPOSED = [56, 189, 248, 150];

/** The editor over the last pane of the player. */
export class MaskEditor {
  /** @param {Player} player */
  constructor(player) {
    this.player = player;
    this.opened = false;
    this.locked = ""; // why nothing can be painted at the moment
    this.tool = "brush";
    this.radius = 8;
    this.frame = 0;
    /** @type {TrackRef} */
    this.track = [0, 0];
    /** @type {TrackRef | null} the prediction whose masks may be taken */
    this.taken = null;
    this.correction = new Correction([0, 0], 0, () => "");
    this.onChange = () => this.onCorrected();
    /** @type {Uint8Array} the mask of the frame shown */
    this.bits = new Uint8Array(0);
    /** @type {Point[]} of a polygon that is not closed yet */
    this.corners = [];
    /** @type {Drag | null} */
    this.drag = null;
    /** @type {Pane | null} */
    this.pane = null;
    /** @type {Map<string, Key>} keys while the editor is open */
    this.keys = new Map();
    /** @type {Set<() => void>} */
    this.frameListeners = new Set();
    /** @type {Set<() => void>} */
    this.openListeners = new Set();
    /** @type {Set<() => void>} */
    this.closeListeners = new Set();
    /** @type {Set<(event: KeyboardEvent) => (() => void) | null>} */
    this.keyHandlers = new Set();
    /** @type {{ frame: number, edit: () => void }[]} edits of frames that are sought */
    this.delayed = [];
    /** @type {string | null} a mask that is shown instead of the frame's, until it is accepted or rejected */
    this.previewed = null;
    /** @type {Prompts} drawn over the mask */
    this.prompts = { points: [], box: null };
    this.resizes = new ResizeObserver(() => this.fit());
    player.region.addEventListener("zoom", () => this.opened && this.fit());
    this.frameChanges = new MutationObserver(() => this.opened && this.onFrameShown());

    this.canvas = createElement("canvas", { class: "brush-canvas", "aria-label": "Mask of this frame", role: "img" });
    this.slider = createElement("input", { type: "range", min: "1", max: String(MAX_RADIUS), value: "8", "aria-label": "Brush size", title: "Brush size: -, = or shift and the wheel" });
    this.slider.addEventListener("input", () => this.setRadius(Number(this.slider.value)));
    /** @type {Tool[]} */
    this.tools = [];
    this.toolButtons = createElement("div", { class: "brush-tools", role: "group", "aria-label": "Tools" });
    for (const tool of TOOLS) this.addTool(tool);
    this.take = this.createAction("Take the prediction here", "t", () => this.takePrediction());
    this.undoButton = this.createAction("Undo stroke", "", () => this.undo());
    this.redoButton = this.createAction("Redo stroke", "", () => this.redo());
    this.discard = createButton("Discard correction", () => this.correction.revert([...this.correction.frames, ...this.correction.proposals.keys()]));
    this.actions = createElement("div", { class: "brush-actions" });
    this.state = createElement("span", { class: "brush-state" });
    this.line = createElement("span", { class: "brush-line", role: "status" });
    this.keyList = createElement("div", { class: "brush-keys" });
    this.bar = createElement("div", { class: "brush-bar", role: "toolbar", "aria-label": "Mask correction" },
      createElement("div", { class: "brush-row" }, this.toolButtons, this.slider, this.createAction("Grow", ".", () => this.grow(true)), this.createAction("Shrink", ",", () => this.grow(false)),
      this.createAction("Copy from the previous frame", "d", () => this.copyPrevious()), this.take, this.createAction("Clear", "Delete", () => this.clear()),
      this.undoButton, this.redoButton, this.createAction("Whole picture", "z", () => this.player.panes.toggleZoom()), this.discard, createButton("Close", () => this.close())), this.actions,
      createElement("p", { class: "brush-text" }, this.state, this.line));
    this.canvas.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    this.canvas.addEventListener("pointermove", (event) => this.onPointerMove(event));
    this.canvas.addEventListener("pointerup", () => this.finishDrag());
    this.canvas.addEventListener("pointercancel", () => this.finishDrag());
    this.canvas.addEventListener("dblclick", () => this.tool === "polygon" && this.closePolygon());
    this.canvas.addEventListener("wheel", (event) => this.onWheel(event));
  }

  // --- for other modules

  /**
   * A tool of the bar. press: called instead of drawing, with a position in the video's pixels. chosen: called when it
   * becomes the current one.
   * @param {Tool} tool
   */
  addTool(tool) {
    this.tools.push(tool);
    this.toolButtons.append(createButton(tool.label, () => this.use(tool.tool), { "data-tool": tool.tool, title: `${tool.label}: ${tool.key}` }));
    this.addKey(tool.key, tool.label.toLowerCase(), () => this.use(tool.tool));
  }

  /**
   * A key while the editor is open; the list of keys has it too.
   * @param {string} key
   * @param {string} words what it does
   * @param {() => void} action
   */
  addKey(key, words, action) {
    this.keys.set(key, { words, action });
  }

  /**
   * Show why something is not possible, or how far something is.
   * @param {string} text
   * @param {"" | "error"} kind
   */
  say(text, kind = "") {
    this.line.textContent = text;
    this.line.dataset.kind = kind;
  }

  /** The range that is selected on the lanes, else the frame shown; words: "frames 12 to 40". */
  range() {
    const [first, last] = this.player.range ?? [this.frame, this.frame];
    return { first, last, words: rangeWords([first, last]) };
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  setRange(first, last) {
    this.player.setRange([first, last]);
  }

  /** Call a function whenever another range is selected. @param {() => void} listener */
  onRange(listener) {
    this.player.region.addEventListener("range", listener);
  }

  /** Call a function whenever another frame is shown. @param {() => void} listener */
  onFrame(listener) {
    this.frameListeners.add(listener);
  }

  /** Call a function after a correction was opened. @param {() => void} listener */
  onOpen(listener) {
    this.openListeners.add(listener);
  }

  /** Call a function before a correction is closed. @param {() => void} listener */
  onClose(listener) {
    this.closeListeners.add(listener);
  }

  /** A function whose actions go before those of the editor's keys. @param {(event: KeyboardEvent) => (() => void) | null} handler */
  beforeKey(handler) {
    this.keyHandlers.add(handler);
  }

  /**
   * Show a mask instead of the frame's, without changing it; null: no more.
   * @param {string | null} text
   * @param {Prompts} prompts what it was computed from
   */
  preview(text, prompts = { points: [], box: null }) {
    Object.assign(this, { previewed: text, prompts });
    this.showMask();
  }

  /** @param {Prompts} prompts */
  drawPrompts(prompts) {
    this.prompts = prompts;
    this.draw();
  }

  // --- opening

  /**
   * Start or continue a correction.
   * @param {Correction} correction
   * @param {TrackRef} track
   * @param {TrackRef | null} taken the prediction whose masks may be taken
   */
  open(correction, track, taken) {
    this.close();
    const pane = this.player.panes.list.at(-1);
    if (!pane) return;
    Object.assign(this, { correction, track, taken, pane, corners: [], opened: true, locked: "" });
    pane.figure.classList.add("correcting");
    pane.figure.append(this.canvas);
    this.player.region.insertBefore(this.bar, this.player.controls.bar);
    const rows = [...this.keys].map(([key, { words }]) => [key, words]);
    this.keyList.replaceChildren(createElement("h2", {}, "Correcting a mask"), createKeyList([...rows, ...KEYS]));
    this.player.controls.help.prepend(this.keyList);
    this.take.disabled = !taken;
    this.resizes.observe(pane.canvas);
    this.frameChanges.observe(this.player.region, { attributeFilter: ["data-frame"] });
    this.player.conceal(track);
    correction.listen(this.onChange);
    this.say("");
    this.use(this.tool);
    this.fit();
    this.onFrameShown();
    this.onCorrected();
    for (const listener of this.openListeners) listener();
  }

  close() {
    if (!this.opened) return;
    this.finishDrag();
    for (const listener of this.closeListeners) listener();
    this.opened = false;
    this.delayed = [];
    this.resizes.disconnect();
    this.frameChanges.disconnect();
    this.pane?.figure.classList.remove("correcting");
    this.canvas.remove();
    this.bar.remove();
    this.keyList.remove();
    this.player.conceal(null);
    this.player.timeline.setEdits("", new Map());
  }

  // --- display

  /** @type {SizeHW} */
  get size() {
    return this.correction.size;
  }

  /** Over the pane's canvas, and as enlarged as its picture; what is outside of the pane is cut off. */
  fit() {
    if (!this.pane) return;
    const { canvas } = this.pane, [height, width] = this.size, { scale, x, y } = this.player.panes.zoom;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const w = canvas.clientWidth * scale, h = canvas.clientHeight * scale, right = 1 - x - 1 / scale, bottom = 1 - y - 1 / scale;
    const box = { width: w, height: h, left: canvas.offsetLeft - x * w, top: canvas.offsetTop - y * h };
    for (const [name, value] of Object.entries(box)) this.canvas.style.setProperty(name, `${value}px`);
    this.canvas.style.clipPath = `inset(${y * h}px ${right * w}px ${bottom * h}px ${x * w}px)`;
    this.draw();
  }

  draw() {
    const [height, width] = this.size, context = context2d(this.canvas), image = context.createImageData(width, height);
    const { edits, proposals } = this.correction, proposed = this.previewed !== null || (proposals.has(this.frame) && !edits.has(this.frame));
    const [r, g, b, a] = proposed ? PROPOSED : COLOUR;
    const pixels = new Uint32Array(image.data.buffer), colour = (a << 24) | (b << 16) | (g << 8) | r;
    for (let i = 0; i < pixels.length; i++) if (this.bits[i]) pixels[i] = colour;
    context.putImageData(image, 0, 0);
    if (this.corners.length) {
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5;
      context.beginPath();
      for (const [x, y] of this.corners) context.lineTo(x, y);
      context.stroke();
      for (const [x, y] of this.corners) context.strokeRect(x - 1.5, y - 1.5, 3, 3);
    }
    drawPrompts(context, this.prompts, width);
  }

  /** Another frame is shown: its mask, with the same tool. */
  onFrameShown() {
    const frame = Number(this.player.region.dataset.frame);
    if (frame === this.frame && this.bits.length === this.size[0] * this.size[1]) return this.editDelayed();
    if (this.bits.length) this.finishDrag();
    if (this.corners.length) this.say("The polygon was not closed: it is dropped.");
    this.corners = [];
    this.frame = frame;
    this.preview(null);
    for (const listener of this.frameListeners) listener();
    this.editDelayed();
  }

  /** Edits of the frame that was sought; of others there are none left once the player rests. */
  editDelayed() {
    if (this.player.target !== this.frame) return;
    for (const { frame, edit } of this.delayed.splice(0)) if (frame === this.frame) edit();
  }

  showMask() {
    this.bits = decodeMask(this.previewed ?? this.correction.mask(this.frame), this.size);
    this.draw();
    this.showState();
  }

  showState() {
    const { frames, proposals } = this.correction;
    const edited = frames.length ? `edited: ${frameWords(frames)}` : "nothing is edited yet";
    const proposed = proposals.size ? ` · proposed, not accepted: ${proposals.size} ${proposals.size === 1 ? "frame" : "frames"}` : "";
    this.state.textContent = `Frame ${this.frame} · ${edited}${proposed}`;
    this.undoButton.disabled = !this.correction.past.length;
    this.redoButton.disabled = !this.correction.future.length;
    this.discard.disabled = !frames.length && !proposals.size;
  }

  /** The masks have changed. */
  onCorrected() {
    if (!this.opened) return;
    const { correction } = this;
    /** @type {Map<number, number | null>} */
    const marks = new Map();
    for (const [frame, { confidence }] of correction.proposals) marks.set(frame, confidence);
    for (const frame of correction.edits.keys()) marks.set(frame, null);
    this.player.timeline.setEdits(this.track.join(":"), marks);
    if (!this.drag) this.showMask();
  }

  // --- editing

  /** Why nothing can be painted now, "" where it can. */
  obstacle() {
    const { player } = this;
    if (this.locked) return this.locked;
    if (player.region.dataset.state === "loading") return "The video is still loading.";
    if (player.target !== player.frame) return `Frame ${player.target} is still loading.`;
    if (!player.masks?.has(this.frame)) return `The masks of frame ${this.frame} are still loading.`;
    return "";
  }

  /** Whether the mask of this frame can be changed; where not, the page shows why. A playing video is paused. */
  canEdit() {
    this.player.pause();
    const obstacle = this.obstacle();
    this.say(obstacle);
    return !obstacle;
  }

  /**
   * Change the mask of this frame, as one step of undo.
   * @param {(bits: Uint8Array) => Uint8Array | boolean | void} change changes a copy of the mask, or returns a new one
   */
  edit(change) {
    if (!this.canEdit()) return;
    const copy = this.bits.slice(), result = change(copy), bits = result instanceof Uint8Array ? result : copy;
    if (!differ(bits, this.bits)) return this.say("That changes nothing in this frame.");
    this.bits = bits;
    this.store();
  }

  /**
   * `edit` by a key or button, which is for the frame that is sought where one is.
   * @param {(bits: Uint8Array) => Uint8Array | boolean | void} change
   */
  editSought(change) {
    const { player } = this, edit = () => this.edit(change);
    if (player.target !== player.frame && !player.playing) this.delayed.push({ frame: player.target, edit });
    else edit();
  }

  store() {
    this.previewed = null; // it was drawn into
    this.correction.setMask(this.frame, encodeMask(this.bits, this.size));
  }

  /** @param {string} tool */
  use(tool) {
    if (tool !== "polygon") this.corners = [];
    this.tool = tool;
    for (const button of this.toolButtons.querySelectorAll("button")) setPressed(button, button.dataset.tool === tool);
    this.canvas.style.cursor = { pan: "grab", move: "move", scale: "nwse-resize" }[tool] ?? "crosshair";
    this.tools.find((each) => each.tool === tool)?.chosen?.();
    if (this.opened) this.draw();
  }

  /** @param {number} radius */
  setRadius(radius) {
    this.radius = Math.min(MAX_RADIUS, Math.max(1, radius));
    this.slider.value = String(this.radius);
  }

  /** @param {1 | -1} direction */
  changeRadius(direction) {
    this.setRadius(this.radius + direction * Math.max(1, Math.round(this.radius / 5)));
  }

  /** Undo the last corner or step, and show a frame that it has changed. */
  undo() {
    if (this.corners.pop()) return this.draw();
    this.showFrame(this.correction.undo());
  }

  redo() {
    this.showFrame(this.correction.redo());
  }

  /** @param {number | null} frame */
  showFrame(frame) {
    if (frame !== null && frame !== this.frame) this.player.seek(frame);
  }

  takePrediction() {
    const { taken } = this;
    if (!taken) return this.say("This question has no prediction to take masks from.");
    this.editSought(() => decodeMask(this.player.masks?.text(...taken, this.frame) ?? "", this.size));
  }

  async copyPrevious() {
    const { frame } = this;
    if (!frame) return this.say("This is the first frame: there is none before it.");
    await this.player.masks?.load(frame - 1); // may belong to a chunk that was never shown
    if (frame === this.frame) this.edit(() => decodeMask(this.correction.mask(frame - 1), this.size));
  }

  clear() {
    this.editSought(() => new Uint8Array(this.bits.length));
  }

  /** @param {boolean} grow false shrinks */
  grow(grow) {
    this.editSought((bits) => growMask(bits, this.size, grow));
  }

  /** Fill the gap at a point, or all holes of the mask there. @param {Point} point */
  fill(point) {
    const filled = this.bits.slice(), inside = filled[Math.floor(point[1]) * this.size[1] + Math.floor(point[0])];
    if (inside ? fillHoles(filled, this.size) : fillRegion(filled, this.size, point)) this.edit(() => filled);
    else this.say(inside ? "The mask has no holes." : "Nothing encloses this place: draw an outline around it first.");
  }

  /** Add a corner; near the first one the polygon is closed. @param {Point} point */
  addCorner(point) {
    if (!this.canEdit()) return;
    const [first] = this.corners, near = (CORNER_REACH * this.size[1]) / Math.max(1, this.canvas.clientWidth);
    if (this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < near) return this.closePolygon();
    this.corners.push(point);
    this.draw();
  }

  closePolygon() {
    if (this.corners.length > 2) this.edit((bits) => drawPolygon(bits, this.size, this.corners.splice(0)));
  }

  // --- input

  /**
   * Position in the video's pixels.
   * @param {PointerEvent} event
   * @returns {Point}
   */
  pointOf(event) {
    const box = this.canvas.getBoundingClientRect(), [height, width] = this.size;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  /** @param {PointerEvent} event */
  onPointerDown(event) {
    event.preventDefault();
    const at = this.pointOf(event), press = this.tools.find(({ tool }) => tool === this.tool)?.press;
    if (this.pane && (this.tool === "pan" || event.button === 1)) return this.player.panes.pan(this.pane, event);
    if (event.button !== 0 || !this.canEdit()) return;
    if (press) return press(at, event);
    if (this.tool === "polygon") return this.addCorner(at);
    if (this.tool === "fill") return this.fill(at);
    if (this.tool !== "brush" && !this.bits.includes(1)) return this.say("This frame has no mask: draw one, or copy it from the previous frame.");
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { at, start: at, bits: this.bits.slice() };
    if ((this.tool === "brush" || this.tool === "eraser")) this.dragTo(at);
  }

  /** @param {PointerEvent} event */
  onPointerMove(event) {
    if (this.drag) this.dragTo(this.pointOf(event));
  }

  /** A stroke, a move or a scaling is done: it becomes a step of undo. */
  finishDrag() {
    const { drag } = this;
    this.drag = null;
    if (drag && differ(drag.bits, this.bits)) this.store();
  }

  /** @param {Point} point */
  dragTo(point) {
    const { drag, size } = this;
    if (!drag) return;
    if (this.tool === "move") {
      this.bits = moveMask(drag.bits, size, [Math.round(point[0] - drag.start[0]), Math.round(point[1] - drag.start[1])]);
    } else if (this.tool === "scale") {
      this.bits = scaled(drag, size, point);
    } else {
      drawStroke(this.bits, size, drag.at, point, this.radius, this.tool === "eraser" ? 0 : 1);
    }
    drag.at = point;
    this.draw();
  }

  /** With shift the wheel changes the brush; without it the pane zooms. @param {WheelEvent} event */
  onWheel(event) {
    if (!event.shiftKey) return;
    event.preventDefault();
    const turn = event.deltaY || event.deltaX; // some browsers turn the axis with shift
    this.changeRadius(turn < 0 ? 1 : -1);
  }

  /**
   * A button with a key.
   * @param {string} label
   * @param {string} key "" for none
   * @param {() => void} action
   */
  createAction(label, key, action) {
    if (key) this.addKey(key, label.toLowerCase(), action);
    return createButton(label, action, { title: key ? `${label}: ${key}` : label });
  }

  /**
   * The action of a key while the editor is open; null for keys that do not belong to it.
   * @param {KeyboardEvent} event
   * @returns {(() => void) | null}
   */
  keyAction(event) {
    if (!this.opened || event.altKey || targetOf(event).matches("textarea, select, input:not([type=range])")) return null;
    for (const handler of this.keyHandlers) {
      const action = handler(event);
      if (action) return action;
    }
    const { past, future } = this.correction, key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "y" || (key === "z" && event.shiftKey)) return future.length ? () => this.redo() : null;
      return key === "z" && (past.length || this.corners.length) ? () => this.undo() : null;
    }
    switch (event.key) {
      case "Enter": return this.corners.length > 2 ? () => this.closePolygon() : null;
      case "-": return () => this.changeRadius(-1);
      case "=": case "+": return () => this.changeRadius(1);
      case "Backspace": return () => this.clear();
      case "Escape": return () => this.close();
      default: return this.keys.get(event.key)?.action ?? null;
    }
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Prompts} prompts
 * @param {number} width of the video, pixels
 */
function drawPrompts(context, { points, box }, width) {
  const unit = Math.max(1, width / 320);
  context.lineWidth = unit;
  context.strokeStyle = "#fff";
  if (box) context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
  for (const [x, y, on] of points) {
    context.fillStyle = on ? "#12b76a" : "#d92d20";
    context.beginPath();
    context.arc(x, y, 3 * unit, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
}

/**
 * @param {Uint8Array} a
 * @param {Uint8Array} b of the same length
 */
const differ = (a, b) => a.some((bit, i) => bit !== b[i]);

/**
 * A range in words: "frame 12", "frames 12 to 40".
 * @param {FrameRange} range
 */
export function rangeWords([first, last]) {
  return first === last ? `frame ${first}` : `frames ${first} to ${last}`;
}

/**
 * The mask before a drag, scaled around its centre by the distances of the drag's end and start.
 * @param {Drag} drag
 * @param {SizeHW} size
 * @param {Point} point
 */
function scaled({ bits, start }, size, point) {
  const box = maskBox(bits, size);
  if (!box) return bits;
  /** @type {Point} */
  const centre = [box.x + box.w / 2, box.y + box.h / 2];
  /** @param {Point} to */
  const distance = (to) => Math.max(1, Math.hypot(to[0] - centre[0], to[1] - centre[1]));
  return scaleMask(bits, size, centre, distance(point) / distance(start));
}
