// COCO's compressed run lengths, decoded straight to the size in which they are drawn.

/** The runs of a text: background, foreground, background, … in pixels, column by column. */
export function runs(text) {
  const found = [];
  for (let at = 0; at < text.length; ) {
    let number = 0, shift = 0, group;
    do {
      group = text.charCodeAt(at++) - 48;
      number |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16 && shift < 32) number |= -1 << shift;
    found.push(found.length > 2 ? number + found[found.length - 2] : number);
  }
  return found;
}

/**
 * A mask of `size` (height, width) pixels as it is drawn on a canvas of `width` x `height`.
 *
 * Returns null where nothing of it is seen, else its box on the canvas {x, y, w, h}, bits (w * h bytes, row by row)
 * and edge: pairs of canvas positions, inside and outside of every step along its outline, -1 beyond the canvas.
 */
export function shape(text, size, width, height) {
  const spans = columns(runs(text), size[0]);
  const onX = places(size[1], width), onY = places(size[0], height);
  let x1 = width, y1 = height, x2 = 0, y2 = 0;
  for (let i = 0; i < spans.length; i += 3) {
    const left = onX[spans[i]], right = onX[spans[i] + 1], top = onY[spans[i + 1]], low = onY[spans[i + 2]];
    if (left >= right || top >= low) continue;
    if (left < x1) x1 = left;
    if (right > x2) x2 = right;
    if (top < y1) y1 = top;
    if (low > y2) y2 = low;
  }
  if (x1 >= x2 || y1 >= y2) return null;
  const found = { x: x1, y: y1, w: x2 - x1, h: y2 - y1, bits: new Uint8Array((x2 - x1) * (y2 - y1)), edge: null };
  for (let i = 0; i < spans.length; i += 3) {
    for (let x = onX[spans[i]]; x < onX[spans[i] + 1]; x++) {
      const stop = onY[spans[i + 2]] - y1;
      for (let y = onY[spans[i + 1]] - y1, at = y * found.w + x - x1; y < stop; y++, at += found.w) found.bits[at] = 1;
    }
  }
  found.edge = outline(found, width, height);
  return found;
}

/** Column, first row, row after the last, of every stretch of foreground. */
function columns(found, height) {
  const spans = [];
  let at = 0;
  for (let i = 0; i < found.length; i++) {
    const stop = at + found[i];
    if (i & 1) {
      while (at < stop) {
        const column = Math.floor(at / height), top = at - column * height;
        const low = Math.min(height, top + stop - at);
        spans.push(column, top, low);
        at += low - top;
      }
    }
    at = stop;
  }
  return spans;
}

const tables = new Map();

/** Where on a side of `canvas` pixels each of the edges 0..pixels of a mask's pixels lies. */
function places(pixels, canvas) {
  const key = pixels * 65536 + canvas;
  if (!tables.has(key)) {
    if (tables.size > 16) tables.clear();
    tables.set(key, Int32Array.from({ length: pixels + 1 }, (_, edge) => Math.ceil((edge * canvas) / pixels - 0.5)));
  }
  return tables.get(key);
}

const STEP_X = [0, 1, 0, -1], STEP_Y = [-1, 0, 1, 0]; // up, right, down, left

/** Every outline, followed from corner to corner with the foreground on the right, so that dashes can be counted. */
function outline({ x: x0, y: y0, w, h, bits }, width, height) {
  const edge = [], visited = new Uint8Array(w * h);
  const inside = (x, y) => x >= 0 && y >= 0 && x < w && y < h && bits[y * w + x] === 1;
  const position = (x, y) => (x + x0 >= 0 && y + y0 >= 0 && x + x0 < width && y + y0 < height ? (y + y0) * width + x + x0 : -1);
  for (let start = 0; start < bits.length; start++) {
    const sx = start % w;
    if (!bits[start] || visited[start] || (sx > 0 && bits[start - 1])) continue;
    let cx = sx, cy = (start - sx) / w + 1, direction = 0; // the lower left corner of the pixel, going up
    do {
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
    } while (true);
  }
  return Int32Array.from(edge);
}
