// The timeline: a ruler of frames, a row for each track, and the cursor of the current frame.

import { context2d, createElement, setPressed, targetOf } from "./dom.js";
import { css } from "./paint.js";

/** @import { FrameRange, Layer, Rgb, Track, View } from "./types.js" */
/**
 * @typedef {object} Row
 * @property {HTMLElement} row
 * @property {HTMLCanvasElement} strip
 * @property {HTMLButtonElement} name
 * @property {HTMLButtonElement} eye
 * @property {Layer} layer
 * @property {Track} track
 */
/**
 * @typedef {object} TimelineEvents
 * @property {(frame: number) => void} seek
 * @property {(first: number, last: number) => void} range
 * @property {(layer: number, track: number) => void} select
 * @property {(key: string) => void} hide
 * @property {(key: string) => void} isolate show only this track
 */

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
const LAST_STEP = 50000;
const TICK = 56; // CSS pixels that a number on the ruler needs
const RULER_HEIGHT = 22, STRIP_HEIGHT = 14;
const MIN_FRAMES = 8; // of the visible part

export class Timeline {
  /**
   * @param {HTMLElement} host element to fill
   * @param {TimelineEvents} on
   * @param {HTMLElement} corner for the place beside the ruler
   */
  constructor(host, on, corner) {
    this.on = on;
    this.host = host;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {View | null} */
    this.view = null;
    /** @type {(track: Track) => Rgb} */
    this.colourOf = () => [0, 0, 0];
    /** @type {[from: number, to: number]} the visible part, in frames */
    this.visible = [0, 1];
    this.frame = 0;
    /** @type {FrameRange | null} */
    this.range = null;
    /** @type {{ key: string, marks: ReadonlyMap<number, number | null> }} edited frames of one row: null, or the confidence of a proposed mask */
    this.edits = { key: "", marks: new Map() };
    this.ruler = createElement("canvas", { class: "ruler", "aria-hidden": "true" });
    this.body = createElement("div", { class: "lanes-body", role: "table", "aria-label": "Tracks" });
    this.cursor = createElement("div", { class: "cursor", "aria-hidden": "true" });
    host.append(createElement("div", { class: "lanes-head" }, corner, this.ruler), this.body, this.cursor);
    new ResizeObserver(() => this.draw()).observe(this.ruler);
    host.addEventListener("pointerdown", (event) => this.onPointerDown(event));
    host.addEventListener("wheel", (event) => {
      if (!event.ctrlKey || !this.view) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.frameAt(event));
    }, { passive: false });
  }

  get length() {
    return this.view ? this.view.times.length : 1;
  }

  /**
   * @param {View} view
   * @param {(track: Track) => Rgb} colourOf
   * @param {boolean} same another version of the current view: zoom and range stay
   */
  load(view, colourOf, same) {
    this.view = view;
    this.colourOf = colourOf;
    if (!same) {
      this.visible = [0, view.times.length];
      this.range = null;
    }
    this.rows.clear();
    this.body.replaceChildren(...view.layers.map((layer, index) => this.createGroup(layer, index)));
    if (same) this.setEdits(this.edits.key, this.edits.marks);
    else this.setEdits("", new Map());
  }

  clear() {
    this.view = null;
    this.rows.clear();
    this.body.replaceChildren();
    context2d(this.ruler).clearRect(0, 0, this.ruler.width, this.ruler.height);
  }

  /**
   * @param {Layer} layer
   * @param {number} index
   */
  createGroup(layer, index) {
    if (!layer.tracks.length) return createElement("p", { class: "lanes-none" }, `${layer.name}: no tracks`);
    const rows = layer.tracks.map((track) => this.createRow(layer, index, track));
    return createElement("div", { class: "lanes-group", role: "rowgroup", "aria-label": layer.name },
      createElement("div", { class: "lanes-title", "aria-hidden": "true" }, layer.name), ...rows);
  }

  /**
   * @param {Layer} layer
   * @param {number} index
   * @param {Track} track
   */
  createRow(layer, index, track) {
    const key = `${index}:${track.id}`, title = `${track.id} ${track.label}`, score = layer.truth ? "" : track.score.toFixed(2);
    const frames = track.seen.reduce((sum, [start, stop]) => sum + stop - start, 0);
    const eye = createElement("button", { class: "eye", type: "button", "aria-pressed": "true", "aria-label": `Show ${title}`, title: "Hide or show" });
    const name = createElement("button", { class: "lane-name", type: "button", "aria-pressed": "false", title: `${title} ${score}\nDouble click: alone` },
      createElement("i", { class: layer.truth ? "dot truth" : "dot" }), createElement("span", {}, title), createElement("span", { class: "lane-score" }, score));
    const strip = createElement("canvas", { class: "strip", role: "img", "aria-label": `seen in ${frames} of ${this.length} frames` });
    /** @param {Node} content @param {string} style */
    const cell = (content, style) => createElement("div", { role: "cell", class: style }, content);
    const row = createElement("div", { class: "lane", role: "row", "aria-label": title, "data-key": key },
      cell(eye, "lane-eye"), cell(name, "lane-label"), cell(strip, "lane-strip"));
    eye.addEventListener("click", () => this.on.hide(key));
    name.addEventListener("click", () => this.on.select(index, track.id));
    name.addEventListener("dblclick", () => this.on.isolate(key));
    this.rows.set(key, { row, strip, name, eye, layer, track });
    return row;
  }

  /**
   * Update the rows' state.
   * @param {{ hidden: Set<string>, filtered: Set<string>, selected: Set<string | null>, highlighted: string | null }} keys
   */
  mark({ hidden, filtered, selected, highlighted }) {
    for (const [key, { row, name, eye }] of this.rows) {
      row.hidden = filtered.has(key);
      row.classList.toggle("off", hidden.has(key));
      row.classList.toggle("lit", key === highlighted);
      row.classList.toggle("selected", selected.has(key));
      setPressed(name, selected.has(key));
      setPressed(eye, !hidden.has(key));
    }
  }

  /**
   * Mark frames of one row: null for an edited mask, a number for a proposed one with this confidence.
   * @param {string} key
   * @param {ReadonlyMap<number, number | null>} marks
   */
  setEdits(key, marks) {
    this.edits = { key, marks };
    for (const [other, { row }] of this.rows) {
      const frames = other === key ? [...marks.keys()].sort((a, b) => a - b) : [];
      if (frames.length) row.dataset.edited = frames.join(" ");
      else delete row.dataset.edited;
    }
    this.draw();
  }

  /**
   * Scroll a row into view, within the timeline alone: the page stays where it is.
   * @param {string} key
   */
  reveal(key) {
    const row = this.rows.get(key)?.row, { body } = this;
    if (!row || row.hidden) return;
    const outer = body.getBoundingClientRect(), inner = row.getBoundingClientRect();
    if (inner.top < outer.top) body.scrollTop -= outer.top - inner.top;
    else if (inner.bottom > outer.bottom) body.scrollTop += inner.bottom - outer.bottom;
  }

  /**
   * @param {number} factor of the visible number of frames
   * @param {number} around frame that stays in place
   */
  zoom(factor, around = this.frame) {
    const [from, to] = this.visible, { length } = this;
    const width = Math.min(length, Math.max(Math.min(length, MIN_FRAMES), (to - from) * factor));
    const part = (around + 0.5 - from) / (to - from);
    const start = Math.min(length - width, Math.max(0, around + 0.5 - width * Math.min(1, Math.max(0, part))));
    this.visible = [start, start + width];
    this.draw();
  }

  showAll() {
    this.visible = [0, this.length];
    this.draw();
  }

  /**
   * Move the cursor, and the visible part where the frame is outside of it.
   * @param {number} frame
   */
  moveTo(frame) {
    this.frame = frame;
    const [from, to] = this.visible;
    if (frame < from || frame + 1 > to) {
      const width = to - from, start = Math.min(this.length - width, Math.max(0, frame - width * 0.1));
      this.visible = [start, start + width];
      this.draw();
    }
    this.placeCursor();
  }

  placeCursor() {
    const { offsetLeft, clientWidth } = this.ruler;
    this.cursor.style.transform = `translateX(${offsetLeft + this.x(this.frame + 0.5, clientWidth)}px)`;
  }

  /**
   * Position of a frame on a strip of `width` CSS pixels.
   * @param {number} frame
   * @param {number} width
   */
  x(frame, width) {
    return ((frame - this.visible[0]) / (this.visible[1] - this.visible[0])) * width;
  }

  draw() {
    const width = this.ruler.clientWidth;
    if (!this.view || !width) return;
    this.host.style.setProperty("--scrollbar", `${this.body.offsetWidth - this.body.clientWidth}px`);
    this.drawRuler(width, this.view.first);
    for (const [key, row] of this.rows) {
      this.drawStrip(row, width);
      if (key === this.edits.key) this.drawEdits(row, width);
    }
    this.placeCursor();
  }

  /**
   * @param {number} width
   * @param {number} offset added to the frames' numbers
   */
  drawRuler(width, offset) {
    const context = sizedContext(this.ruler, width, RULER_HEIGHT), style = getComputedStyle(this.ruler);
    if (this.range) {
      context.fillStyle = style.getPropertyValue("--range");
      const left = this.x(this.range[0], width), right = this.x(this.range[1] + 1, width);
      context.fillRect(left, 0, Math.max(2, right - left), RULER_HEIGHT);
    }
    const step = STEPS.find((frames) => this.x(this.visible[0] + frames, width) >= TICK) ?? LAST_STEP;
    context.fillStyle = style.color;
    context.font = "11px system-ui, sans-serif";
    for (let frame = Math.ceil(this.visible[0] / step) * step; frame < this.visible[1]; frame += step) {
      const x = Math.round(this.x(frame, width));
      context.fillRect(x, 15, 1, 7);
      const text = String(frame + offset);
      context.fillText(text, Math.min(x + 3, width - context.measureText(text).width), 12);
    }
  }

  /**
   * @param {Row} row
   * @param {number} width
   */
  drawStrip({ row, strip, layer, track }, width) {
    const context = sizedContext(strip, width, STRIP_HEIGHT), colour = css(this.colourOf(track));
    row.style.setProperty("--track", colour);
    context.fillStyle = colour;
    context.globalAlpha = layer.truth ? 1 : 0.35 + 0.65 * Math.min(1, Math.max(0, track.score));
    for (const [start, stop] of track.seen) {
      const left = this.x(start, width), right = this.x(stop, width);
      if (right > 0 && left < width) context.fillRect(left, 2, Math.max(1, right - left), 10);
    }
    context.globalAlpha = 1;
    for (const { frame, kind } of track.marks ?? []) {
      const x = this.x(frame, width);
      context.fillStyle = kind === "switch" ? "#d92d20" : "#f79009";
      context.beginPath();
      context.moveTo(x - 4, 0);
      context.lineTo(x + 4, 0);
      context.lineTo(x, 7);
      context.fill();
    }
  }

  /**
   * Edited frames as full bars, proposed ones as bars as high as they are certain.
   * @param {Row} row
   * @param {number} width
   */
  drawEdits({ strip }, width) {
    const context = context2d(strip), style = getComputedStyle(strip);
    for (const [frame, confidence] of this.edits.marks) {
      const left = this.x(frame, width), right = this.x(frame + 1, width), height = (confidence ?? 1) * STRIP_HEIGHT;
      context.fillStyle = style.getPropertyValue(confidence === null ? "--edited" : "--proposed");
      context.fillRect(left, STRIP_HEIGHT - height, Math.max(2, right - left), height);
    }
  }

  /** @param {MouseEvent} event */
  frameAt(event) {
    const box = this.ruler.getBoundingClientRect();
    const frame = this.visible[0] + ((event.clientX - box.left) / box.width) * (this.visible[1] - this.visible[0]);
    return Math.min(this.length - 1, Math.max(0, Math.floor(frame)));
  }

  /**
   * A press seeks, a drag selects a range.
   * @param {PointerEvent} event
   */
  onPointerDown(event) {
    if (event.button !== 0 || !this.view || !targetOf(event).matches(".ruler, .strip")) return;
    const start = this.frameAt(event), controller = new AbortController(), { signal } = controller;
    let moved = false;
    addEventListener("pointermove", (move) => {
      moved ||= Math.abs(move.clientX - event.clientX) > 4;
      const frame = this.frameAt(move);
      if (moved) this.setRange([Math.min(start, frame), Math.max(start, frame)]);
    }, { signal });
    /** @param {PointerEvent} up */
    const done = (up) => {
      controller.abort();
      if (!moved) this.on.seek(this.frameAt(up));
      else if (this.range) this.on.range(...this.range);
    };
    addEventListener("pointerup", done, { signal });
    addEventListener("pointercancel", done, { signal });
    event.preventDefault();
  }

  /** @param {FrameRange | null} range */
  setRange(range) {
    this.range = range;
    this.draw();
  }
}

/**
 * The context of a canvas resized to CSS pixels.
 * @param {HTMLCanvasElement} canvas
 * @param {number} width
 * @param {number} height
 */
function sizedContext(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  Object.assign(canvas, { width: Math.max(1, Math.round(width * scale)), height: Math.round(height * scale) });
  const context = context2d(canvas);
  context.scale(scale, scale);
  return context;
}
