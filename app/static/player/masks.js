// Masks as they come, chunk by chunk, and as they are drawn. Both are let go when newer ones take their place.

import { shape } from "./rle.js";

const CHUNKS = 6, SHAPE_BYTES = 48 << 20;

export class Masks {
  constructor(show, base) {
    this.show = show;
    this.url = `${base}/masks`;
    this.chunks = new Map(); // chunk -> {layers, asked}: layers null until they are here
    this.shapes = new Map();
    this.bytes = 0;
  }

  of(frame) {
    return this.chunks.get(Math.floor(frame / this.show.chunk));
  }

  has(frame) {
    return Boolean(this.of(frame)?.layers);
  }

  /** Resolves when the masks of `frame` are here; those after them are on their way. */
  async load(frame) {
    const chunk = Math.floor(frame / this.show.chunk);
    const last = Math.floor((this.show.times.length - 1) / this.show.chunk);
    const wanted = this.fetch(chunk);
    for (let next = chunk + 1; next <= Math.min(chunk + 2, last); next++) this.fetch(next);
    await wanted.asked;
  }

  fetch(chunk) {
    const kept = this.chunks.get(chunk) ?? this.request(chunk);
    this.chunks.delete(chunk);
    this.chunks.set(chunk, kept);
    for (const old of this.chunks.keys()) {
      if (this.chunks.size <= CHUNKS) break;
      this.chunks.delete(old);
    }
    return kept;
  }

  request(chunk) {
    const made = { layers: null, asked: this.get(chunk).then((layers) => (made.layers = layers)) };
    made.asked.catch(() => this.chunks.get(chunk) === made && this.chunks.delete(chunk));
    return made;
  }

  async get(chunk) {
    const answer = await fetch(`${this.url}/${chunk}?version=${this.show.version}`);
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()).layers;
  }

  /** The shape of a track on a canvas, null where it is absent. */
  shape(layer, track, frame, width, height) {
    const key = `${layer}:${track}:${frame}:${width}:${height}`;
    if (this.shapes.has(key)) return this.shapes.get(key);
    const text = this.of(frame)?.layers?.[layer]?.[track]?.[frame % this.show.chunk];
    const found = text ? shape(text, [this.show.height, this.show.width], width, height) : null;
    this.shapes.set(key, found);
    this.bytes += weight(found);
    for (const [old, kept] of this.shapes) {
      if (this.bytes <= SHAPE_BYTES || this.shapes.size === 1) break;
      this.shapes.delete(old);
      this.bytes -= weight(kept);
    }
    return found;
  }
}

function weight(found) {
  return 200 + (found ? found.bits.byteLength + found.edge.byteLength : 0);
}
