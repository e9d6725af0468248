// The panes of the player: canvases with pictures and masks, what the pointer does on them, and their zoom.

import { createElement } from "./dom.js";
import { PaneCanvas } from "./paint.js";
import { bothParts, frameOn, litBox, panBy, shows, WHOLE, zoomAt } from "./zoom.js";

/** @import { Player } from "./player.js" */
/** @import { Item, PaneData, TrackRef, View } from "./types.js" */
/** @import { Part, Zoom } from "./zoom.js" */
/** @typedef {PaneData & { canvas: HTMLCanvasElement, figure: HTMLElement, caption: HTMLElement | null, painter: PaneCanvas }} Pane */

const MAX_WIDTH = 1920; // canvas pixels
const DRAG = 4; // CSS pixels from which a press is a drag
const WHEEL_STEP = 1.2;

export class Panes {
  /** @param {Player} player */
  constructor(player) {
    this.player = player;
    /** @type {Pane[]} */
    this.list = [];
    /** @type {Zoom} of all panes */
    this.zoom = WHOLE;
    this.focused = false; // whether the selected tracks are framed and everything else is dimmed
    this.opening = false; // whether a view is loaded whose first part to show is not known yet
    this.movedByHand = false; // since they were framed
    /** @type {Part | null} what was framed */
    this.framed = null;
    this.dragged = false; // whether the last press was a drag: then it selects nothing
    this.element = createElement("div", { class: "screens" });
    new ResizeObserver(() => this.fit()).observe(this.element);
    addEventListener("scroll", () => this.dock(), { passive: true });
  }

  /** A style sheet may keep the picture on the screen when the player has scrolled away from it. */
  dock() {
    const { region } = this.player, height = this.element.offsetHeight;
    if (!region.offsetParent) return;
    region.style.setProperty("--docked", `${height}px`);
    region.toggleAttribute("data-docked", region.getBoundingClientRect().bottom < height);
  }

  /** Only views that state so can be zoomed: elsewhere the wheel scrolls the page. */
  get zoomable() {
    return this.player.view?.zoom === true;
  }

  /**
   * @param {View} view
   * @param {HTMLElement} message
   * @param {boolean} sameVideo whether the picture shown stays until the first one of the view is drawn
   */
  layOut(view, message, sameVideo) {
    const earlier = sameVideo ? this.list[0]?.painter.picture : undefined;
    this.list = view.panes.map((data) => this.createPane(view, data));
    const divider = view.layout === "swipe" && this.list.length > 1 ? [createDivider(this.element)] : [];
    this.element.replaceChildren(...this.list.map((pane) => pane.figure), ...divider, message);
    this.element.dataset.layout = view.layout;
    this.element.style.setProperty("--panes", String(view.layout === "side" ? this.list.length : 1));
    this.framed = null;
    this.movedByHand = false;
    this.setZoom(WHOLE);
    this.fit();
    if (earlier) for (const { painter } of this.list) painter.showPicture(earlier);
  }

  /**
   * @param {View} view
   * @param {PaneData} data
   */
  createPane(view, data) {
    const canvas = createElement("canvas", { role: "img", "aria-label": `${view.name} ${data.name}`.trim() });
    const caption = data.name ? [createElement("figcaption", {}, data.name)] : [];
    /** @type {Pane} */
    const pane = { ...data, canvas, caption: caption[0] ?? null, figure: createElement("figure", { class: "pane" }, canvas, ...caption), painter: new PaneCanvas(canvas) };
    canvas.addEventListener("pointermove", (event) => this.player.onHover(itemsUnder(pane, event), event));
    canvas.addEventListener("pointerleave", () => this.player.highlight(null));
    canvas.addEventListener("pointerdown", (event) => this.onPress(pane, event));
    canvas.addEventListener("click", (event) => !this.dragged && this.player.onPick(itemsUnder(pane, event)));
    pane.figure.addEventListener("wheel", (event) => this.onWheel(pane, event), { passive: false });
    return pane;
  }

  clear() {
    this.list = [];
  }

  /** Canvases as large as they are displayed. */
  fit() {
    const { view, region, target } = this.player;
    if (!view) return;
    const shape = (view.width * view.aspect) / view.height, rows = view.layout === "stacked" ? this.list.length : 1;
    const limit = parseFloat(getComputedStyle(this.element).maxHeight) || Infinity; // of a style sheet, "none" without one
    const room = Math.min(limit, Math.max(160, Math.min(innerHeight * 0.64, innerHeight - 260))) / Math.min(2, rows);
    let changed = false;
    for (const { canvas, figure, painter } of this.list) {
      const displayed = Math.min(figure.clientWidth, room * shape);
      const width = Math.max(16, Math.min(MAX_WIDTH, Math.round(displayed * (devicePixelRatio || 1))));
      const height = Math.max(16, Math.round(width / shape));
      canvas.style.width = `${displayed}px`;
      if (canvas.width === width && canvas.height === height) continue;
      painter.resize(width, height);
      changed = true;
    }
    for (const pane of this.list) pane.painter.covered = captionBox(pane);
    if (changed && region.dataset.frame !== undefined) this.player.seek(target);
  }

  // --- zoom

  /** @param {Zoom} zoom */
  setZoom(zoom) {
    const { player } = this;
    this.zoom = zoom;
    player.region.dataset.zoom = zoom.scale.toFixed(2);
    for (const { canvas } of this.list) canvas.style.cursor = zoom.scale > 1 ? "grab" : "";
    player.region.dispatchEvent(new CustomEvent("zoom", { bubbles: true }));
    player.paint();
  }

  /**
   * Show the tracks in the current frame with their surroundings; not while an editor draws one of them.
   * @param {TrackRef[]} refs
   */
  frameTracks(refs) {
    if (this.zoomable && !this.player.concealed) this.setZoom(frameOn(this.partOf(refs)));
  }

  /** Of another video: nothing is framed yet. */
  reset() {
    this.focused = false;
    this.player.region.dataset.focus = "false";
    this.opening = true;
  }

  /** Frame what a view begins with. @param {View} view */
  onLoaded(view) {
    if (!this.opening) return;
    this.opening = false;
    if (view.focus) this.setFocus(true);
    else this.frameTracks(view.pair ?? []);
  }

  /** Begin to frame the selected tracks and to dim everything else, or show the whole picture. @param {boolean} focused */
  setFocus(focused) {
    const { view, region, masks, frame, target } = this.player;
    this.focused = focused;
    this.movedByHand = false;
    if (focused && view) view.zoom = true;
    region.dataset.focus = String(focused);
    const part = focused ? this.partOf(this.player.selectedTracks()) : null;
    // Of a frame whose masks or picture have not arrived, the tracks are framed by `follow` once it is drawn.
    this.framed = frame === target ? part : null;
    this.setZoom(focused && !masks?.has(frame) ? this.zoom : frameOn(part));
  }

  /** Frame the selected tracks where they are not what is shown, unless the picture was moved by hand. */
  follow() {
    if (!this.focused || this.movedByHand) return;
    const part = this.partOf(this.player.selectedTracks());
    if (part && !(this.framed && shows(this.zoom, part))) this.setFocus(true);
  }

  /**
   * The box of a pane that stays bright, null where nothing is dimmed.
   * @param {Pane} pane
   */
  litBox({ canvas }) {
    const part = this.focused ? this.partOf(this.player.selectedTracks()) : null;
    return part && litBox(part, this.zoom, canvas.width, canvas.height);
  }

  /** Whether a track that is not selected is dimmed: not where no pane shows the selected ones. */
  get dims() {
    const layers = this.focused ? this.player.selectedTracks().map(([layer]) => layer) : [];
    return this.list.some((pane) => layers.some((layer) => pane.layers.includes(layer)));
  }

  /**
   * The part of the picture that tracks take in the current frame, null where none is visible.
   * @param {TrackRef[]} refs
   */
  partOf(refs) {
    const { masks, frame } = this.player, [pane] = this.list;
    /** @type {Part | null} */
    let part = null;
    if (!masks?.has(frame) || !pane) return part;
    const { width, height } = pane.canvas;
    for (const [layer, id] of refs) {
      const shape = masks.shape(layer, id, frame, width, height, WHOLE);
      if (shape) part = bothParts(part, { x: shape.x / width, y: shape.y / height, w: shape.w / width, h: shape.h / height });
    }
    return part;
  }

  /** The whole picture, or the selected tracks again. */
  toggleZoom() {
    if (this.zoom.scale > 1) this.setZoom(WHOLE);
    else this.setZoom(frameOn(this.partOf(this.player.selectedTracks())));
  }

  /**
   * At the whole picture the wheel may scroll the page down.
   * @param {Pane} pane
   * @param {WheelEvent} event
   */
  onWheel({ canvas }, event) {
    if (!this.zoomable || event.shiftKey || (this.zoom.scale === 1 && event.deltaY > 0)) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect(), factor = event.deltaY < 0 ? WHEEL_STEP : 1 / WHEEL_STEP;
    this.movedByHand = true;
    this.setZoom(zoomAt(this.zoom, factor, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
  }

  /**
   * A drag moves an enlarged picture.
   * @param {Pane} pane
   * @param {PointerEvent} event
   */
  onPress(pane, event) {
    this.dragged = false;
    if (this.zoom.scale > 1 && event.button < 2) this.pan(pane, event, () => (this.dragged = true));
  }

  /**
   * Move the picture with the pointer until it is released.
   * @param {Pane} pane
   * @param {PointerEvent} event
   * @param {() => void} onDrag called at the first movement
   */
  pan({ canvas }, event, onDrag = () => {}) {
    const start = this.zoom, box = canvas.getBoundingClientRect(), controller = new AbortController(), { signal } = controller;
    let moved = false;
    addEventListener("pointermove", (move) => {
      const dx = move.clientX - event.clientX, dy = move.clientY - event.clientY;
      if (!moved && Math.hypot(dx, dy) < DRAG) return;
      if (!moved) onDrag();
      moved = this.movedByHand = true;
      this.setZoom(panBy(start, dx / box.width, dy / box.height));
    }, { signal });
    for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => controller.abort(), { signal });
    event.preventDefault();
  }
}

/**
 * The movable divider between two panes that lie on top of each other.
 * @param {HTMLElement} element
 */
function createDivider(element) {
  const slider = createElement("input", { type: "range", min: "0", max: "100", value: "50", class: "swipe", "aria-label": "Swipe" });
  const move = () => element.style.setProperty("--swipe", `${slider.value}%`);
  slider.addEventListener("input", move);
  move();
  return slider;
}

/**
 * The part of a canvas that its caption covers, canvas pixels.
 * @param {Pane} pane
 */
function captionBox({ canvas, caption }) {
  if (!caption) return [];
  const outer = canvas.getBoundingClientRect(), inner = caption.getBoundingClientRect(), scale = canvas.width / Math.max(1, outer.width);
  return [{ x: (inner.left - outer.left) * scale, y: (inner.top - outer.top) * scale, w: inner.width * scale, h: inner.height * scale }];
}

/**
 * The items under the pointer, the topmost first.
 * @param {Pane} pane
 * @param {MouseEvent} event
 * @returns {Item[]}
 */
function itemsUnder({ painter, canvas }, event) {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  return painter.itemsAt((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
}
