// COCO's compressed run lengths: counts go down the columns, the first one is background, from the fourth on they are
// differences to the count two before. Source: pycocotools, maskApi.c (rleToString, rleFrString).

/** @import { SizeHW } from "./types.js" */

/**
 * The run lengths of a text in pixels: background, foreground, background, …
 * @param {string} text
 */
export function decodeCounts(text) {
  /** @type {number[]} */
  const counts = [];
  for (let at = 0; at < text.length; ) {
    let number = 0, shift = 0, group;
    do {
      group = text.charCodeAt(at++) - 48;
      number |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16 && shift < 32) number |= -1 << shift;
    counts.push(counts.length > 2 ? number + counts[counts.length - 2] : number);
  }
  return counts;
}

/**
 * The text of run lengths.
 * @param {number[]} counts
 */
export function encodeCounts(counts) {
  let text = "";
  for (let i = 0; i < counts.length; i++) {
    let number = i > 2 ? counts[i] - counts[i - 2] : counts[i], more = true;
    while (more) {
      let group = number & 31;
      number >>= 5;
      more = group & 16 ? number !== -1 : number !== 0;
      if (more) group |= 32;
      text += String.fromCharCode(group + 48);
    }
  }
  return text;
}

/**
 * The mask of a text, one byte a pixel, row by row; all background for an empty text.
 * @param {string} text
 * @param {SizeHW} size
 */
export function decodeMask(text, [height, width]) {
  const bits = new Uint8Array(height * width);
  let at = 0, bit = 0;
  for (const count of decodeCounts(text)) {
    if (bit) for (let i = at; i < at + count; i++) bits[(i % height) * width + Math.floor(i / height)] = 1;
    at += count;
    bit ^= 1;
  }
  return bits;
}

/**
 * The text of a mask.
 * @param {Uint8Array} bits one byte a pixel, row by row
 * @param {SizeHW} size
 */
export function encodeMask(bits, [height, width]) {
  const counts = [];
  let last = 0, count = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const bit = bits[y * width + x];
      if (bit !== last) {
        counts.push(count);
        count = 0;
        last = bit;
      }
      count++;
    }
  }
  counts.push(count);
  return encodeCounts(counts);
}
