// Which part of the picture is shown. All lengths are shares of the picture's or of the pane's width and height.

/** @typedef {{ scale: number, x: number, y: number }} Zoom x, y: the upper left corner of the part that is shown */
/** @typedef {{ x: number, y: number, w: number, h: number }} Part */

/** @type {Zoom} */
export const WHOLE = { scale: 1, x: 0, y: 0 };
const MAX_SCALE = 12, MAX_FRAMED = 4;
const FRAMED = 0.5; // of the pane that a framed object takes
const MARGIN = 0.25, MIN_MARGIN = 16; // around a lit part: of its longer side, and pixels of the canvas
const NEARLY_WHOLE = 1.25; // a smaller scale is not worth it

/**
 * Within the picture.
 * @param {Zoom} zoom
 * @returns {Zoom}
 */
function within({ scale, x, y }) {
  const limited = Math.min(MAX_SCALE, Math.max(1, scale)), last = 1 - 1 / limited;
  return { scale: limited, x: Math.min(last, Math.max(0, x)), y: Math.min(last, Math.max(0, y)) };
}

/**
 * Enlarge so that the place under the pointer stays there.
 * @param {Zoom} zoom
 * @param {number} factor
 * @param {number} px position in the pane
 * @param {number} py
 */
export function zoomAt(zoom, factor, px, py) {
  const scale = Math.min(MAX_SCALE, Math.max(1, zoom.scale * factor));
  return within({ scale, x: zoom.x + px / zoom.scale - px / scale, y: zoom.y + py / zoom.scale - py / scale });
}

/**
 * Move the picture by a part of the pane.
 * @param {Zoom} zoom
 * @param {number} dx
 * @param {number} dy
 */
export function panBy(zoom, dx, dy) {
  return within({ scale: zoom.scale, x: zoom.x - dx / zoom.scale, y: zoom.y - dy / zoom.scale });
}

/**
 * The zoom that shows a part of the picture with its surroundings; the whole picture where that is hardly more.
 * @param {Part | null} part
 * @returns {Zoom}
 */
export function frameOn(part) {
  if (!part) return WHOLE;
  const scale = Math.min(MAX_FRAMED, FRAMED / Math.max(part.w, part.h, 1e-6));
  if (scale < NEARLY_WHOLE) return WHOLE;
  return within({ scale, x: part.x + part.w / 2 - 0.5 / scale, y: part.y + part.h / 2 - 0.5 / scale });
}

/**
 * The part that contains both.
 * @param {Part | null} a
 * @param {Part} b
 * @returns {Part}
 */
export function bothParts(a, b) {
  if (!a) return b;
  const x = Math.min(a.x, b.x), y = Math.min(a.y, b.y);
  return { x, y, w: Math.max(a.x + a.w, b.x + b.w) - x, h: Math.max(a.y + a.h, b.y + b.h) - y };
}

/**
 * Whether a part of the picture is shown completely.
 * @param {Zoom} zoom
 * @param {Part} part
 */
export function shows({ scale, x, y }, part) {
  const size = 1 / scale;
  return part.x >= x && part.y >= y && part.x + part.w <= x + size && part.y + part.h <= y + size;
}

/**
 * The box around a part that stays bright while everything else is dimmed, pixels of the canvas, possibly beyond it.
 * @param {Part} part
 * @param {Zoom} zoom
 * @param {number} width of the canvas
 * @param {number} height
 * @returns {Part}
 */
export function litBox(part, { scale, x, y }, width, height) {
  const w = part.w * scale * width, h = part.h * scale * height, margin = Math.max(MIN_MARGIN, MARGIN * Math.max(w, h));
  return { x: (part.x - x) * scale * width - margin, y: (part.y - y) * scale * height - margin, w: w + 2 * margin, h: h + 2 * margin };
}
