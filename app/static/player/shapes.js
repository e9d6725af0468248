// Masks at the size in which they are drawn: rasterised straight from run lengths, with their outlines.

import { decodeCounts } from "./rle.js";
import { WHOLE } from "./zoom.js";

/** @import { Zoom } from "./zoom.js" */
/** @import { Shape, SizeHW } from "./types.js" */

/**
 * A mask of `size` pixels on a canvas of `width` x `height` that shows a part of it; null where nothing of it is visible.
 * @param {string} text COCO's compressed run lengths
 * @param {SizeHW} size
 * @param {number} width
 * @param {number} height
 * @param {Zoom} zoom
 * @returns {Shape | null}
 */
export function maskShape(text, size, width, height, zoom = WHOLE) {
  const spans = columnSpans(decodeCounts(text), size[0]);
  const onX = edgePositions(size[1], width, zoom.x, zoom.scale), onY = edgePositions(size[0], height, zoom.y, zoom.scale);
  let x1 = width, y1 = height, x2 = 0, y2 = 0;
  for (let i = 0; i < spans.length; i += 3) {
    const left = onX[spans[i]], right = onX[spans[i] + 1], top = onY[spans[i + 1]], bottom = onY[spans[i + 2]];
    if (left >= right || top >= bottom) continue;
    if (left < x1) x1 = left;
    if (right > x2) x2 = right;
    if (top < y1) y1 = top;
    if (bottom > y2) y2 = bottom;
  }
  if (x1 >= x2 || y1 >= y2) return null;
  const box = { x: x1, y: y1, w: x2 - x1, h: y2 - y1 }, bits = new Uint8Array(box.w * box.h);
  for (let i = 0; i < spans.length; i += 3) {
    for (let x = onX[spans[i]]; x < onX[spans[i] + 1]; x++) {
      const stop = onY[spans[i + 2]] - y1;
      for (let y = onY[spans[i + 1]] - y1, at = y * box.w + x - x1; y < stop; y++, at += box.w) bits[at] = 1;
    }
  }
  return { ...box, bits, edge: traceOutline(box, bits, width, height) };
}

/**
 * Column, first row and the row after the last of every vertical span of foreground, flat.
 * @param {number[]} counts
 * @param {number} height
 */
function columnSpans(counts, height) {
  /** @type {number[]} */
  const spans = [];
  let at = 0;
  for (let i = 0; i < counts.length; i++) {
    const stop = at + counts[i];
    if (i & 1) {
      while (at < stop) {
        const column = Math.floor(at / height), top = at - column * height;
        const bottom = Math.min(height, top + stop - at);
        spans.push(column, top, bottom);
        at += bottom - top;
      }
    }
    at = stop;
  }
  return spans;
}

/** @type {Map<string, Int32Array>} */
const tables = new Map();

/**
 * Canvas positions of the edges 0..pixels between a mask's pixels, along a side of `canvas` pixels; those outside of the
 * part that is shown are moved to its border.
 * @param {number} pixels
 * @param {number} canvas
 * @param {number} start of the part that is shown, 0 to 1
 * @param {number} scale
 */
function edgePositions(pixels, canvas, start, scale) {
  const key = `${pixels}:${canvas}:${start}:${scale}`;
  let table = tables.get(key);
  if (!table) {
    if (tables.size > 16) tables.clear();
    table = Int32Array.from({ length: pixels + 1 }, (_, edge) => {
      const position = Math.ceil(((edge * canvas) / pixels - start * canvas) * scale - 0.5);
      return Math.min(canvas, Math.max(0, position));
    });
    tables.set(key, table);
  }
  return table;
}

const STEP_X = [0, 1, 0, -1], STEP_Y = [-1, 0, 1, 0]; // up, right, down, left

/**
 * Every outline, followed from corner to corner with the foreground on the right, so that dashes can be counted.
 * @param {{ x: number, y: number, w: number, h: number }} box
 * @param {Uint8Array} bits
 * @param {number} width
 * @param {number} height
 */
function traceOutline({ x: x0, y: y0, w, h }, bits, width, height) {
  /** @type {number[]} */
  const edge = [];
  const visited = new Uint8Array(w * h);
  /** @param {number} x @param {number} y */
  const inside = (x, y) => x >= 0 && y >= 0 && x < w && y < h && bits[y * w + x] === 1;
  /** @param {number} x @param {number} y */
  const position = (x, y) => (x + x0 >= 0 && y + y0 >= 0 && x + x0 < width && y + y0 < height ? (y + y0) * width + x + x0 : -1);
  for (let start = 0; start < bits.length; start++) {
    const startX = start % w;
    if (!bits[start] || visited[start] || (startX > 0 && bits[start - 1])) continue;
    let cx = startX, cy = (start - startX) / w + 1, direction = 0; // the lower left corner of the pixel, going up
    for (;;) {
      const dx = STEP_X[direction], dy = STEP_Y[direction];
      // The pixels on the right and on the left of the step from corner (cx, cy).
      const rx = cx + (dx - dy - 1) / 2, ry = cy + (dx + dy - 1) / 2, lx = cx + (dx + dy - 1) / 2, ly = cy + (dy - dx - 1) / 2;
      if (direction === 0) {
        if (visited[ry * w + rx]) break;
        visited[ry * w + rx] = 1;
      }
      edge.push(position(rx, ry), position(lx, ly));
      cx += dx;
      cy += dy;
      if (inside(lx + dx, ly + dy)) direction = (direction + 3) & 3;
      else if (!inside(rx + dx, ry + dy)) direction = (direction + 1) & 3;
    }
  }
  return Int32Array.from(edge);
}
