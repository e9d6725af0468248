// Masks as they are fetched, chunk by chunk, and as they are drawn.

import { LruCache } from "./lru.js";
import { maskShape } from "./shapes.js";

/** @import { Zoom } from "./zoom.js" */
/** @import { MaskTexts, Shape, View } from "./types.js" */
/** @typedef {{ texts: MaskTexts | null, loaded: Promise<unknown> }} Chunk texts: null until they have arrived */

const CHUNKS = 6, SHAPE_BYTES = 48 << 20, ENTRY_BYTES = 200;

export class MaskCache {
  /**
   * @param {View} view
   * @param {string} base address of the view
   */
  constructor(view, base) {
    this.view = view;
    this.url = `${base}/masks`;
    /** @type {LruCache<number, Chunk>} */
    this.chunks = new LruCache(CHUNKS);
    /** @type {LruCache<string, { shape: Shape | null }>} */
    this.shapes = new LruCache(SHAPE_BYTES, {
      weigh: ({ shape }) => ENTRY_BYTES + (shape ? shape.bits.byteLength + shape.edge.byteLength : 0),
    });
  }

  /**
   * Whether the masks of a frame have arrived.
   * @param {number} frame
   */
  has(frame) {
    return Boolean(this.chunks.peek(Math.floor(frame / this.view.chunk))?.texts);
  }

  /**
   * Resolves once the masks of `frame` have arrived; those of the next two chunks are requested as well.
   * @param {number} frame
   */
  async load(frame) {
    const chunk = Math.floor(frame / this.view.chunk);
    const last = Math.floor((this.view.times.length - 1) / this.view.chunk);
    const { loaded } = this.request(chunk);
    for (let next = chunk + 1; next <= Math.min(chunk + 2, last); next++) this.request(next);
    await loaded;
  }

  /**
   * @param {number} index
   * @returns {Chunk}
   */
  request(index) {
    const known = this.chunks.get(index);
    if (known) return known;
    /** @type {Chunk} */
    const chunk = { texts: null, loaded: this.fetch(index).then((texts) => (chunk.texts = texts)) };
    chunk.loaded.catch(() => this.chunks.peek(index) === chunk && this.chunks.delete(index));
    this.chunks.set(index, chunk);
    return chunk;
  }

  /**
   * @param {number} index
   * @returns {Promise<MaskTexts>}
   */
  async fetch(index) {
    const response = await fetch(`${this.url}/${index}?version=${this.view.version}`);
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()).layers;
  }

  /**
   * COCO's compressed run lengths of a track, "" where it is absent or has not arrived.
   * @param {number} layer
   * @param {number} track
   * @param {number} frame
   */
  text(layer, track, frame) {
    const { chunk } = this.view;
    return this.chunks.peek(Math.floor(frame / chunk))?.texts?.[layer]?.[track]?.[frame % chunk] ?? "";
  }

  /**
   * The shape of a track on a canvas, null where it is absent.
   * @param {number} layer
   * @param {number} track
   * @param {number} frame
   * @param {number} width
   * @param {number} height
   * @param {Zoom} zoom
   */
  shape(layer, track, frame, width, height, zoom) {
    const key = `${layer}:${track}:${frame}:${width}:${height}:${zoom.scale}:${zoom.x}:${zoom.y}`;
    const known = this.shapes.get(key);
    if (known) return known.shape;
    const text = this.text(layer, track, frame);
    const shape = text ? maskShape(text, [this.view.height, this.view.width], width, height, zoom) : null;
    this.shapes.set(key, { shape });
    return shape;
  }
}
