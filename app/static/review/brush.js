// Correcting one frame's mask on the player's picture: brush, eraser, polygon, fill; zoom and pan. It works on the
// video's own pixels, so that what is drawn is what is saved.

import { context2d, createButton, createElement, setPressed, targetOf } from "../player/dom.js";
import { drawPolygon, drawStroke, fillHole } from "./drawing.js";
import { decodeMask, encodeMask } from "../player/rle.js";

/** @import { Player, Pane } from "../player/player.js" */
/** @import { Point, SizeHW } from "../player/types.js" */
/** @typedef {[scale: number, x: number, y: number]} Zoom translation in CSS pixels */

const TOOLS = [["brush", "Brush"], ["eraser", "Eraser"], ["polygon", "Polygon"], ["fill", "Fill"], ["pan", "Pan"]];
const TOOL_KEYS = new Map([["b", "brush"], ["e", "eraser"], ["g", "polygon"], ["f", "fill"], ["h", "pan"]]);
const MAX_STEPS_BACK = 30, MAX_RADIUS = 80, MAX_ZOOM = 8;
const CORNER_REACH = 6; // CSS pixels
const COLOUR = [255, 214, 10, 150];

/** The editor over the last pane of the player. */
export class MaskEditor {
  /**
   * @param {Player} player
   * @param {(counts: string) => void} onChange gets COCO's compressed run lengths
   */
  constructor(player, onChange) {
    this.player = player;
    this.onChange = onChange;
    this.opened = false;
    this.tool = "brush";
    this.radius = 8;
    this.frame = 0;
    /** @type {SizeHW} */
    this.size = [0, 0];
    /** @type {Uint8Array} */
    this.bits = new Uint8Array(0);
    this.predicted = "";
    /** @type {Uint8Array[]} masks before each edit */
    this.past = [];
    /** @type {Point[]} of a polygon that is not closed yet */
    this.corners = [];
    /** @type {Zoom} */
    this.zoom = [1, 0, 0];
    /** @type {{ at: Point, x: number, y: number, pan?: Zoom } | null} a drag */
    this.drag = null;
    /** @type {Pane | null} */
    this.pane = null;
    this.resizes = new ResizeObserver(() => this.fit());
    this.frameChanges = new MutationObserver(() => this.onFrame());

    this.canvas = createElement("canvas", { class: "brush-canvas", "aria-label": "Mask of this frame", role: "img" });
    this.slider = createElement("input", { type: "range", min: "1", max: String(MAX_RADIUS), value: "8", "aria-label": "Brush size" });
    this.slider.addEventListener("input", () => this.setRadius(Number(this.slider.value)));
    this.tools = TOOLS.map(([tool, label]) => createButton(label, () => this.use(tool), { "data-tool": tool }));
    this.take = createButton("Take the prediction here", () => this.takePrediction());
    this.bar = createElement("div", { class: "brush-bar", role: "toolbar", "aria-label": "Mask correction" },
      ...this.tools, this.slider, this.take, createButton("Clear", () => this.edit(() => this.bits.fill(0))),
      createButton("Step back", () => this.back()), createButton("Whole picture", () => this.resetZoom()), createButton("Close", () => this.close()));
    this.canvas.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    this.canvas.addEventListener("pointermove", (event) => this.onPointerMove(event));
    this.canvas.addEventListener("pointerup", () => this.onPointerUp());
    this.canvas.addEventListener("pointercancel", () => this.onPointerUp());
    this.canvas.addEventListener("dblclick", () => this.tool === "polygon" && this.closePolygon());
    this.canvas.addEventListener("wheel", (event) => this.onWheel(event));
  }

  /**
   * Start on a frame.
   * @param {{ frame: number, size: SizeHW, counts: string, predicted: string }} start counts: the mask to correct;
   *   predicted: the one that may be taken instead, "" for none
   */
  open({ frame, size, counts, predicted }) {
    this.close();
    const pane = this.player.panes.at(-1);
    if (!pane) return;
    Object.assign(this, { frame, size, predicted, bits: decodeMask(counts, size), past: [], corners: [], zoom: [1, 0, 0], pane });
    pane.figure.classList.add("correcting");
    pane.figure.append(this.canvas);
    this.player.region.insertBefore(this.bar, this.player.controls.bar);
    this.take.disabled = !predicted;
    this.resizes.observe(pane.canvas);
    this.frameChanges.observe(this.player.region, { attributeFilter: ["data-frame"] });
    this.opened = true;
    this.use(this.tool);
    this.fit();
    this.onFrame();
  }

  close() {
    if (!this.opened) return;
    this.resetZoom();
    this.opened = false;
    this.resizes.disconnect();
    this.frameChanges.disconnect();
    this.pane?.figure.classList.remove("correcting");
    this.canvas.remove();
    this.bar.remove();
  }

  // --- display

  /** As large as the pane's canvas. */
  fit() {
    if (!this.pane) return;
    const { canvas } = this.pane, [height, width] = this.size;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const box = { width: canvas.clientWidth, height: canvas.clientHeight, left: canvas.offsetLeft, top: canvas.offsetTop };
    for (const [name, value] of Object.entries(box)) this.canvas.style.setProperty(name, `${value}px`);
    this.draw();
  }

  draw() {
    const [height, width] = this.size, context = context2d(this.canvas), image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), colour = (COLOUR[3] << 24) | (COLOUR[2] << 16) | (COLOUR[1] << 8) | COLOUR[0];
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
    const [scale, x, y] = this.zoom, transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
    this.canvas.style.transform = transform;
    if (this.pane) this.pane.canvas.style.transform = transform;
  }

  /** The mask is hidden and cannot be edited while another frame is shown. */
  onFrame() {
    this.canvas.hidden = Number(this.player.region.dataset.frame) !== this.frame;
  }

  resetZoom() {
    this.zoom = [1, 0, 0];
    this.draw();
  }

  // --- editing

  /** @param {string | undefined} tool */
  use(tool) {
    if (!tool) return;
    if (tool !== "polygon") this.corners = [];
    this.tool = tool;
    for (const button of this.tools) setPressed(button, button.dataset.tool === tool);
    this.canvas.style.cursor = tool === "pan" ? "grab" : "crosshair";
    if (this.opened) this.draw();
  }

  /** @param {number} radius */
  setRadius(radius) {
    this.radius = Math.min(MAX_RADIUS, Math.max(1, radius));
    this.slider.value = String(this.radius);
  }

  remember() {
    this.past.push(this.bits.slice());
    if (this.past.length > MAX_STEPS_BACK) this.past.shift();
  }

  /**
   * Change the mask so that it can be undone.
   * @param {() => unknown} change
   */
  edit(change) {
    this.remember();
    change();
    this.onEdited();
  }

  onEdited() {
    this.draw();
    this.onChange(encodeMask(this.bits, this.size));
  }

  /** Undo the last corner or edit. */
  back() {
    if (this.corners.pop()) return this.draw();
    const bits = this.past.pop();
    if (!bits) return;
    this.bits = bits;
    this.onEdited();
  }

  takePrediction() {
    if (this.predicted) this.edit(() => (this.bits = decodeMask(this.predicted, this.size)));
  }

  /** Add a corner; near the first one the polygon is closed. @param {Point} point */
  addCorner(point) {
    const [first] = this.corners, near = CORNER_REACH / this.zoom[0];
    if (this.corners.length > 2 && Math.hypot(point[0] - first[0], point[1] - first[1]) < near) return this.closePolygon();
    this.corners.push(point);
    this.draw();
  }

  closePolygon() {
    if (this.corners.length > 2) this.edit(() => drawPolygon(this.bits, this.size, this.corners.splice(0)));
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
    const at = this.pointOf(event);
    if (this.tool === "polygon") return this.addCorner(at);
    if (this.tool === "fill") return this.edit(() => fillHole(this.bits, this.size, at));
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { at, x: event.clientX, y: event.clientY };
    if (this.tool === "pan" || event.button === 1) {
      this.drag.pan = [...this.zoom];
      return;
    }
    this.remember();
    this.strokeTo(at);
  }

  /** @param {PointerEvent} event */
  onPointerMove(event) {
    if (!this.drag) return;
    if (!this.drag.pan) return this.strokeTo(this.pointOf(event));
    const [scale, x, y] = this.drag.pan;
    this.zoom = [scale, x + event.clientX - this.drag.x, y + event.clientY - this.drag.y];
    this.draw();
  }

  onPointerUp() {
    if (this.drag && !this.drag.pan) this.onEdited();
    this.drag = null;
  }

  /** @param {Point} point */
  strokeTo(point) {
    if (!this.drag) return;
    drawStroke(this.bits, this.size, this.drag.at, point, this.radius, this.tool === "eraser" ? 0 : 1);
    this.drag.at = point;
    this.draw();
  }

  /** Zoom around the pointer. @param {WheelEvent} event */
  onWheel(event) {
    event.preventDefault();
    if (!this.pane) return;
    const [scale, x, y] = this.zoom, next = Math.min(MAX_ZOOM, Math.max(1, scale * (event.deltaY < 0 ? 1.25 : 0.8)));
    const box = this.pane.figure.getBoundingClientRect();
    const px = event.clientX - box.left - this.canvas.offsetLeft, py = event.clientY - box.top - this.canvas.offsetTop;
    this.zoom = next === 1 ? [1, 0, 0] : [next, px - ((px - x) * next) / scale, py - ((py - y) * next) / scale];
    this.draw();
  }

  /**
   * The action of a key while the editor is open; null for keys that do not belong to drawing.
   * @param {KeyboardEvent} event
   * @returns {(() => void) | null}
   */
  keyAction(event) {
    if (!this.opened || this.canvas.hidden || event.altKey || targetOf(event).matches("textarea, select, input:not([type=range])")) return null;
    if (event.ctrlKey || event.metaKey) {
      return event.key === "z" && (this.past.length || this.corners.length) ? () => this.back() : null;
    }
    const step = Math.max(1, Math.round(this.radius / 5));
    if (TOOL_KEYS.has(event.key)) return () => this.use(TOOL_KEYS.get(event.key));
    switch (event.key) {
      case "Enter": return this.corners.length > 2 ? () => this.closePolygon() : null;
      case "[": return () => this.setRadius(this.radius - step);
      case "]": return () => this.setRadius(this.radius + step);
      case "t": return () => this.takePrediction();
      case "Escape": return () => this.close();
      default: return null;
    }
  }
}
