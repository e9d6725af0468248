// Drawing into a mask: one byte a pixel, row by row. Places are in pixels, the centre of the first one at (0.5, 0.5).

/** @import { Point, SizeHW } from "../player/types.js" */

/**
 * Set every pixel within `radius` of the line from a to b.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point} a
 * @param {Point} b
 * @param {number} radius pixels
 * @param {0 | 1} bit 0 erases
 */
export function drawStroke(bits, size, [ax, ay], [bx, by], radius, bit) {
  const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / Math.max(0.5, radius / 3)));
  for (let i = 0; i <= steps; i++) {
    drawDisc(bits, size, [ax + ((bx - ax) * i) / steps, ay + ((by - ay) * i) / steps], radius, bit);
  }
}

/**
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point} centre
 * @param {number} radius
 * @param {0 | 1} bit
 */
function drawDisc(bits, [height, width], [cx, cy], radius, bit) {
  const top = Math.max(0, Math.floor(cy - radius)), bottom = Math.min(height - 1, Math.ceil(cy + radius));
  for (let y = top; y <= bottom; y++) {
    const square = radius * radius - (y + 0.5 - cy) ** 2;
    if (square < 0) continue;
    const half = Math.sqrt(square);
    const from = Math.max(0, Math.ceil(cx - half - 0.5)), to = Math.min(width - 1, Math.floor(cx + half - 0.5));
    if (from <= to) bits.fill(bit, y * width + from, y * width + to + 1);
  }
  const x = Math.floor(cx), y = Math.floor(cy); // the smallest brush is one pixel
  if (x >= 0 && y >= 0 && x < width && y < height) bits[y * width + x] = bit;
}

/**
 * Set all pixels whose centre is inside a polygon: even-odd rule.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point[]} corners
 */
export function drawPolygon(bits, [height, width], corners) {
  for (let y = 0; y < height; y++) {
    const centre = y + 0.5, crossings = [];
    for (let i = 0; i < corners.length; i++) {
      const [x1, y1] = corners[i], [x2, y2] = corners[(i + 1) % corners.length];
      if (y1 <= centre !== y2 <= centre) crossings.push(x1 + ((centre - y1) / (y2 - y1)) * (x2 - x1));
    }
    crossings.sort((a, b) => a - b);
    for (let i = 0; i + 1 < crossings.length; i += 2) {
      const from = Math.max(0, Math.ceil(crossings[i] - 0.5)), to = Math.min(width, Math.ceil(crossings[i + 1] - 0.5));
      if (from < to) bits.fill(1, y * width + from, y * width + to);
    }
  }
}

/**
 * Set the connected background around a point, unless it reaches the border: then nothing encloses it.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point} point
 * @returns whether anything was set
 */
export function fillHole(bits, [height, width], [x, y]) {
  const start = Math.floor(y) * width + Math.floor(x), seen = new Uint8Array(bits.length), stack = [start];
  if (bits[start]) return false;
  seen[start] = 1;
  for (let i = 0; i < stack.length; i++) {
    const at = stack[i], column = at % width, row = (at - column) / width;
    if (!column || !row || column === width - 1 || row === height - 1) return false;
    for (const next of [at - 1, at + 1, at - width, at + width]) {
      if (seen[next] || bits[next]) continue;
      seen[next] = 1;
      stack.push(next);
    }
  }
  for (const at of stack) bits[at] = 1;
  return true;
}
