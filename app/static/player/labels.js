// Where the labels of a picture are written: beside their objects, each on one line.

/** @import { Shape } from "./types.js" */
/** @typedef {{ x: number, y: number, w: number, h: number }} Box canvas pixels */
/**
 * @typedef {{ shape: Shape, w: number, h: number, wanted: boolean, left?: boolean }} Label wanted: of the selected track, or
 *   the one under the pointer; left: it is left out, but no other may cover its object
 */

const CROWDED = 0.15; // share of the picture that all labels take, above which only wanted ones are written
const MAX_COVERED = 0.1; // share of any object that a label may cover
const STEP = 2; // pixels between two that are looked at

/**
 * A place for each label, in the same order; null where it is left out. Wanted labels come first, then those in front.
 * @param {Label[]} labels the one in front first
 * @param {number} width of the canvas
 * @param {number} height
 * @param {Box[]} covered parts of the canvas where no label is written
 * @returns {(Box | null)[]}
 */
export function placeLabels(labels, width, height, covered = []) {
  const requested = labels.filter(({ left }) => !left), area = requested.reduce((sum, { w, h }) => sum + w * h, 0);
  const crowded = area > CROWDED * width * height;
  const order = requested.filter(({ wanted }) => wanted || !crowded).sort((a, b) => Number(b.wanted) - Number(a.wanted));
  const sizes = order.length ? labels.map(({ shape }) => Math.max(1, countPixels(shape, shape))) : [];
  const taken = [...covered];
  /** @type {Map<Label, Box>} */
  const places = new Map();
  for (const label of order) {
    const candidates = candidatesOf(label, width, height).filter((box) => !taken.some((other) => overlap(box, other)));
    /** @param {Box} box */
    const hidden = (box) => Math.max(...labels.map(({ shape }, i) => countPixels(shape, box) / sizes[i]));
    const place = candidates.find((box) => hidden(box) <= MAX_COVERED) ?? (label.wanted ? candidates[0] : null);
    if (!place) continue;
    taken.push(place);
    places.set(label, place);
  }
  return labels.map((label) => places.get(label) ?? null);
}

/**
 * Above, below, to the right and to the left of the object, and at the top inside of it, as far as they are on the canvas.
 * @param {Label} label
 * @param {number} width
 * @param {number} height
 * @returns {Box[]}
 */
function candidatesOf({ shape, w, h }, width, height) {
  const x = Math.max(0, Math.min(shape.x, width - w)), y = Math.max(0, Math.min(shape.y, height - h));
  const corners = [[x, shape.y - h], [x, shape.y + shape.h], [shape.x + shape.w, y], [shape.x - w, y], [x, y]];
  return corners
    .filter(([left, top]) => left >= 0 && top >= 0 && left + w <= width && top + h <= height)
    .map(([left, top]) => ({ x: left, y: top, w, h }));
}

/** @param {Box} a @param {Box} b */
const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

/**
 * Pixels of a shape inside of a box, of every second row and column.
 * @param {Shape} shape
 * @param {Box} box
 */
function countPixels(shape, box) {
  const left = Math.max(0, box.x - shape.x), right = Math.min(shape.w, box.x + box.w - shape.x);
  const top = Math.max(0, box.y - shape.y), bottom = Math.min(shape.h, box.y + box.h - shape.y);
  let count = 0;
  for (let y = top + (top % STEP); y < bottom; y += STEP) {
    for (let x = left + (left % STEP); x < right; x += STEP) count += shape.bits[y * shape.w + x];
  }
  return count;
}
