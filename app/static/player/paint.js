// One picture with its masks on one canvas: composed by pixels, so that overlapping masks are blended once and exactly.

import { context2d } from "./dom.js";
import { placeLabels } from "./labels.js";

/** @import { Zoom } from "./zoom.js" */
/** @import { Item, MaskStyle, Rgb, Shape, SizeHW, Track, View } from "./types.js" */
/** @import { Box } from "./labels.js" */

const MAX_PICTURE_WIDTH = 2048; // pixels of the stored picture's width
const DASH = 7; // steps along an outline that a dash and a gap take
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis, for scores
const WHITE = [255, 255, 255];
const OWN_COLOURS = 12; // the first of the palette, as in tevit/video/overlay.py
const DIMMED = 0.3, DIMMED_LINE = 90; // opacity of other masks beside those in focus, alpha of their outlines
const SHADE = "rgb(0 0 0 / 55%)";
const MAX_LABEL_WIDTH = 0.4; // of the canvas

/**
 * The colours of tracks that are visible together, by id, as `track_colors` of tevit/video/overlay.py: the lowest ids
 * choose first: the one of the id among the first twelve, else the first that none has, else one that the fewest have.
 * @param {readonly Rgb[]} palette
 * @param {number[]} ids
 * @returns {Map<number, Rgb>}
 */
export function trackColours(palette, ids) {
  const uses = palette.map(() => 0), count = Math.min(OWN_COLOURS, palette.length);
  return new Map([...new Set(ids)].sort((a, b) => a - b).map((id) => {
    const least = Math.min(...uses), own = ((id % count) + count) % count;
    const place = uses[own] === least ? own : uses.indexOf(least);
    uses[place] += 1;
    return [id, palette[place]];
  }));
}

/**
 * @param {Pick<View, "palette">} view
 * @param {Track} track
 * @param {string} by "track", "class" or "score"
 * @param {Rgb} [own] the track's own colour
 * @returns {Rgb}
 */
export function trackColour({ palette }, track, by, own) {
  if (track.rgb) return track.rgb;
  if (by === "track" && own) return own;
  if (by === "score") {
    const place = Math.min(0.9999, Math.max(0, track.score)) * (RAMP.length - 1);
    const low = Math.floor(place), part = place - low;
    return RAMP[low].map((level, channel) => Math.round(level + (RAMP[low + 1][channel] - level) * part));
  }
  const index = by === "class" ? track.category : track.id;
  return palette[((index % palette.length) + palette.length) % palette.length];
}

/** @param {Rgb} rgb */
export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/**
 * From the back to the front: ground truth, predictions by score, the selected ones.
 * @template {{ selected: boolean, dashed: boolean, track: { score: number } }} T
 * @param {T[]} items
 */
export function paintOrder(items) {
  /** @param {T} item */
  const rank = (item) => (item.selected ? 10 : 0) + (item.dashed ? 2 + item.track.score : 0);
  return [...items].sort((a, b) => rank(a) - rank(b));
}

/** Picture and masks have a canvas each, so that either can change alone. */
export class PaneCanvas {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = context2d(canvas, { alpha: false });
    this.picture = new OffscreenCanvas(1, 1);
    this.masks = new OffscreenCanvas(1, 1);
    this.image = new ImageData(1, 1); // the masks' pixels
    this.pixels = new Uint32Array(this.image.data.buffer);
    /** @type {Item[]} from the back to the front */
    this.items = [];
    /** @type {Box[]} parts under something else, where no label is written */
    this.covered = [];
    /** @type {Box | null} the part of the pixels that was drawn on */
    this.dirty = null;
  }

  /**
   * @param {number} width
   * @param {number} height
   */
  resize(width, height) {
    for (const canvas of [this.canvas, this.picture, this.masks]) Object.assign(canvas, { width, height });
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.dirty = null;
  }

  /**
   * @param {CanvasImageSource} picture
   * @param {SizeHW} size of its upper left part that is displayed
   * @param {boolean} whole keep all of its pixels, so that a part can be enlarged
   */
  setPicture(picture, [height, width], whole) {
    const scale = whole ? Math.min(1, MAX_PICTURE_WIDTH / width) : 0, bufferWidth = Math.round(width * scale) || this.canvas.width;
    const bufferHeight = Math.round(height * scale) || this.canvas.height;
    if (this.picture.width !== bufferWidth || this.picture.height !== bufferHeight) Object.assign(this.picture, { width: bufferWidth, height: bufferHeight });
    const context = this.picture.getContext("2d", { alpha: false });
    context?.drawImage(picture, 0, 0, width, height, 0, 0, this.picture.width, this.picture.height);
  }

  /** The whole of a picture without masks. @param {OffscreenCanvas} picture */
  showPicture(picture) {
    this.setPicture(picture, [picture.height, picture.width], false);
    this.context.drawImage(this.picture, 0, 0);
  }

  /**
   * @param {Item[]} items from the back to the front
   * @param {MaskStyle} style
   * @param {Zoom} zoom
   * @param {Box | null} lit the part that stays bright, null: all of it
   */
  compose(items, style, zoom, lit = null) {
    this.clear();
    this.items = items;
    for (const item of items) {
      if (style.masks) fillShape(this.pixels, this.canvas.width, item, Math.min(1, style.opacity * (item.dimmed ? DIMMED : 1) + (item.highlighted ? 0.25 : 0)));
    }
    for (const item of items) {
      if (style.contours || item.selected || item.highlighted) this.drawContour(item);
      this.dirty = union(this.dirty, item.shape);
    }
    if (this.dirty) this.putPixels(this.dirty);
    const { width, height } = this.picture, { scale, x, y } = zoom;
    this.context.drawImage(this.picture, x * width, y * height, width / scale, height / scale, 0, 0, this.canvas.width, this.canvas.height);
    if (lit) shade(this.context, lit);
    this.context.drawImage(this.masks, 0, 0);
    drawLabels(this.context, style.labels ? items : [], this.covered);
  }

  clear() {
    if (!this.dirty) return;
    const { x, y, w, h } = this.dirty;
    for (let row = y; row < y + h; row++) {
      const start = row * this.canvas.width + x;
      this.pixels.fill(0, start, start + w);
    }
    this.putPixels(this.dirty);
    this.dirty = null;
  }

  /** @param {Box} box */
  putPixels({ x, y, w, h }) {
    this.masks.getContext("2d")?.putImageData(this.image, 0, 0, x, y, w, h);
  }

  /** @param {Item} item */
  drawContour({ shape: { edge }, rgb, dashed, dimmed, highlighted, selected }) {
    const line = pack(highlighted || selected ? WHITE : rgb, dimmed ? DIMMED_LINE : 255), { pixels } = this;
    for (let i = 0; i < edge.length; i += 2) {
      if (dashed && ((i / (2 * DASH)) & 1)) continue;
      pixels[edge[i]] = line;
      if (edge[i + 1] >= 0) pixels[edge[i + 1]] = line;
    }
  }

  /**
   * The items at a canvas position, the topmost first.
   * @param {number} x
   * @param {number} y
   */
  itemsAt(x, y) {
    return this.items.filter(({ shape }) => {
      const dx = Math.floor(x) - shape.x, dy = Math.floor(y) - shape.y;
      return dx >= 0 && dy >= 0 && dx < shape.w && dy < shape.h && shape.bits[dy * shape.w + dx];
    }).reverse();
  }
}

/**
 * @param {Rgb} rgb
 * @param {number} alpha 0 to 255
 */
const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

/**
 * Blend a shape into pixels of `width` columns.
 * @param {Uint32Array} pixels
 * @param {number} width
 * @param {{ shape: Shape, rgb: Rgb }} item
 * @param {number} opacity 0 to 1
 */
export function fillShape(pixels, width, { shape, rgb }, opacity) {
  const alpha = Math.round(opacity * 255), plain = pack(rgb, alpha);
  for (let y = 0; y < shape.h; y++) {
    let from = y * shape.w, to = (y + shape.y) * width + shape.x;
    for (const stop = from + shape.w; from < stop; from++, to++) {
      if (shape.bits[from]) pixels[to] = pixels[to] ? blend(pixels[to], rgb, opacity) : plain;
    }
  }
}

/**
 * A colour over a pixel; alpha is not premultiplied.
 * @param {number} below
 * @param {Rgb} rgb
 * @param {number} opacity 0 to 1
 */
function blend(below, rgb, opacity) {
  const under = ((below >>> 24) / 255) * (1 - opacity), alpha = opacity + under;
  /** @param {number} over @param {number} shift */
  const mix = (over, shift) => Math.round((over * opacity + ((below >>> shift) & 255) * under) / alpha);
  return pack([mix(rgb[0], 0), mix(rgb[1], 8), mix(rgb[2], 16)], Math.round(alpha * 255));
}

/**
 * The box of both; an outline is drawn one pixel beyond its shape.
 * @param {Box | null} box
 * @param {Box} shape
 * @returns {Box}
 */
function union(box, shape) {
  const x = Math.max(0, shape.x - 1), y = Math.max(0, shape.y - 1), right = shape.x + shape.w + 1, bottom = shape.y + shape.h + 1;
  if (!box) return { x, y, w: right - x, h: bottom - y };
  const left = Math.min(box.x, x), top = Math.min(box.y, y);
  return { x: left, y: top, w: Math.max(box.x + box.w, right) - left, h: Math.max(box.y + box.h, bottom) - top };
}

/**
 * Darken everything but a box.
 * @param {CanvasRenderingContext2D} context
 * @param {Box} lit
 */
function shade(context, { x, y, w, h }) {
  const around = new Path2D();
  around.rect(0, 0, context.canvas.width, context.canvas.height);
  around.roundRect(x, y, w, h, 8);
  context.fillStyle = SHADE;
  context.fill(around, "evenodd");
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Item[]} items from the back to the front
 * @param {Box[]} covered
 */
function drawLabels(context, items, covered) {
  const { width, height } = context.canvas;
  const size = Math.max(11, Math.round(Math.min(width, height) / 36));
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const labels = [...items].reverse().map(({ shape, rgb, text, labelled, selected, highlighted }) => {
    const line = oneLine(text, (part) => context.measureText(part).width, MAX_LABEL_WIDTH * width);
    return { shape, rgb, line, w: Math.ceil(context.measureText(line).width) + size, h: size + 6, wanted: selected || highlighted, left: !labelled };
  });
  placeLabels(labels, width, height, covered).forEach((box, index) => {
    if (!box) return;
    const { rgb, line } = labels[index];
    context.fillStyle = css(rgb);
    context.fillRect(box.x, box.y, box.w, box.h);
    context.fillStyle = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 128 ? "#141414" : "#fff";
    context.fillText(line, box.x + size / 2, box.y + box.h / 2 + 1);
  });
}

/**
 * A text that is at most so wide, shortened with an ellipsis.
 * @param {string} text
 * @param {(part: string) => number} measure
 * @param {number} width
 */
export function oneLine(text, measure, width) {
  let part = text;
  while (part.length > 1 && measure(part) > width) part = `${part.replace(/…$/, "").slice(0, -1).trimEnd()}…`;
  return part;
}
