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
export function fillRegion(bits, size, [x, y]) {
  const { pixels, border } = background(bits, size, Math.floor(y) * size[1] + Math.floor(x), new Uint8Array(bits.length));
  if (border) return false;
  for (const at of pixels) bits[at] = 1;
  return pixels.length > 0;
}

/**
 * Set all background that the mask encloses.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @returns whether anything was set
 */
export function fillHoles(bits, size) {
  const seen = new Uint8Array(bits.length), holes = [];
  for (let start = 0; start < bits.length; start++) {
    const { pixels, border } = background(bits, size, start, seen);
    if (!border) for (const at of pixels) holes.push(at);
  }
  for (const at of holes) bits[at] = 1;
  return holes.length > 0;
}

/**
 * The background connected with a pixel, and whether it reaches the border; nothing for a pixel that is set or seen.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {number} start
 * @param {Uint8Array} seen
 */
function background(bits, [height, width], start, seen) {
  /** @type {number[]} */
  const pixels = [];
  let border = false;
  /** @param {number} at */
  const visit = (at) => {
    if (bits[at] || seen[at]) return;
    seen[at] = 1;
    pixels.push(at);
  };
  visit(start);
  for (let i = 0; i < pixels.length; i++) {
    const at = pixels[i], column = at % width, row = (at - column) / width;
    if (column) visit(at - 1);
    if (column + 1 < width) visit(at + 1);
    if (row) visit(at - width);
    if (row + 1 < height) visit(at + width);
    border ||= !column || !row || column === width - 1 || row === height - 1;
  }
  return { pixels, border };
}

/**
 * The mask shifted; what leaves the picture is cut off.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point} by whole pixels
 */
export function moveMask(bits, [height, width], [dx, dy]) {
  const moved = new Uint8Array(bits.length);
  const left = Math.max(0, dx), right = Math.min(width, width + dx);
  if (left >= right) return moved;
  for (let y = Math.max(0, dy); y < Math.min(height, height + dy); y++) {
    const from = (y - dy) * width - dx;
    moved.set(bits.subarray(from + left, from + right), y * width + left);
  }
  return moved;
}

/**
 * The mask scaled around a point: each pixel takes the nearest one of the mask before.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {Point} centre
 * @param {number} factor
 */
export function scaleMask(bits, [height, width], [cx, cy], factor) {
  const scaled = new Uint8Array(bits.length);
  const columns = Int32Array.from({ length: width }, (_, x) => Math.floor((x + 0.5 - cx) / factor + cx));
  for (let y = 0; y < height; y++) {
    const from = Math.floor((y + 0.5 - cy) / factor + cy);
    if (from < 0 || from >= height) continue;
    for (let x = 0; x < width; x++) {
      const column = columns[x];
      if (column >= 0 && column < width) scaled[y * width + x] = bits[from * width + column];
    }
  }
  return scaled;
}

/**
 * The mask grown or shrunk by one pixel in four directions; beyond the picture's border it counts as going on.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 * @param {boolean} grow false shrinks
 */
export function growMask(bits, [height, width], grow) {
  const changed = bits.slice(), other = grow ? 1 : 0;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (bits[at] === other) continue;
      const touches = (x > 0 && bits[at - 1] === other) || (x + 1 < width && bits[at + 1] === other) ||
        (y > 0 && bits[at - width] === other) || (y + 1 < height && bits[at + width] === other);
      if (touches) changed[at] = other;
    }
  }
  return changed;
}

/**
 * The box of a mask in pixels, null for an empty one.
 * @param {Uint8Array} bits
 * @param {SizeHW} size
 */
export function maskBox(bits, [height, width]) {
  let left = width, right = -1, top = -1, bottom = -1;
  for (let y = 0; y < height; y++) {
    const row = bits.subarray(y * width, (y + 1) * width), first = row.indexOf(1);
    if (first < 0) continue;
    if (top < 0) top = y;
    bottom = y;
    left = Math.min(left, first);
    right = Math.max(right, row.lastIndexOf(1));
  }
  return top < 0 ? null : { x: left, y: top, w: right - left + 1, h: bottom - top + 1 };
}
