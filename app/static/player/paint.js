// One picture with its masks on one canvas: composed by pixels, so that whatever overlaps is blended once and exactly.

const DASH = 7; // steps along an outline that a dash and a gap take
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis, for scores

export function colour(show, layer, track, by) {
  if (track.rgb) return track.rgb;
  if (by === "score") return ramp(track.score);
  const place = by === "class" ? track.category : track.id;
  return show.palette[((place % show.palette.length) + show.palette.length) % show.palette.length];
}

function ramp(score) {
  const place = Math.min(0.9999, Math.max(0, score)) * (RAMP.length - 1);
  const low = Math.floor(place), part = place - low;
  return RAMP[low].map((level, c) => Math.round(level + (RAMP[low + 1][c] - level) * part));
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

export class Screen {
  /** canvas: where it is seen. What is behind the masks and the masks are kept apart, so that either can change alone. */
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.behind = new OffscreenCanvas(1, 1);
    this.over = new OffscreenCanvas(1, 1);
    this.shown = []; // {shape, item} from the back to the front
  }

  resize(width, height) {
    for (const canvas of [this.canvas, this.behind, this.over]) Object.assign(canvas, { width, height });
    this.image = new ImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.dirty = null;
  }

  /** shown: height and width of its upper left part that counts. */
  picture(picture, [height, width]) {
    const { behind } = this;
    behind.getContext("2d", { alpha: false }).drawImage(picture, 0, 0, width, height, 0, 0, behind.width, behind.height);
  }

  /** items: {shape, rgb, dashed, lit, chosen, text} from the back to the front. */
  compose(items, look) {
    this.clear();
    this.shown = items;
    for (const item of items) {
      if (look.masks) fill(this.pixels, this.canvas.width, item, Math.min(1, look.opacity + (item.lit ? 0.25 : 0)));
    }
    for (const item of items) {
      if (look.contours || item.chosen || item.lit) this.contour(item);
      this.dirty = union(this.dirty, item.shape);
    }
    this.present(look.labels ? items : []);
  }

  clear() {
    if (!this.dirty) return;
    const { x, y, w, h } = this.dirty;
    for (let row = y; row < y + h; row++) {
      const start = row * this.canvas.width + x;
      this.pixels.fill(0, start, start + w);
    }
    this.blit(this.dirty);
    this.dirty = null;
  }

  blit({ x, y, w, h }) {
    this.over.getContext("2d").putImageData(this.image, 0, 0, x, y, w, h);
  }

  present(labelled) {
    if (this.dirty) this.blit(this.dirty);
    this.context.drawImage(this.behind, 0, 0);
    this.context.drawImage(this.over, 0, 0);
    label(this.context, labelled);
  }

  contour({ shape, rgb, dashed, lit, chosen }) {
    const line = pack(lit || chosen ? [255, 255, 255] : rgb, 255), { edge } = shape, { pixels } = this;
    for (let i = 0; i < edge.length; i += 2) {
      if (dashed && ((i / (2 * DASH)) & 1)) continue;
      pixels[edge[i]] = line;
      if (edge[i + 1] >= 0) pixels[edge[i + 1]] = line;
    }
  }

  /** The items at a place of the canvas, the topmost first. */
  at(x, y) {
    return this.shown.filter(({ shape: s }) => {
      const [dx, dy] = [Math.floor(x) - s.x, Math.floor(y) - s.y];
      return dx >= 0 && dy >= 0 && dx < s.w && dy < s.h && s.bits[dy * s.w + dx];
    }).reverse();
  }
}

const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

function fill(pixels, width, { shape, rgb }, opacity) {
  const alpha = Math.round(opacity * 255), plain = pack(rgb, alpha);
  for (let y = 0; y < shape.h; y++) {
    let from = y * shape.w, to = (y + shape.y) * width + shape.x;
    for (const stop = from + shape.w; from < stop; from++, to++) {
      if (shape.bits[from]) pixels[to] = pixels[to] ? blend(pixels[to], rgb, opacity) : plain;
    }
  }
}

/** A colour over a pixel that is there already; neither is multiplied by its alpha. */
function blend(below, rgb, opacity) {
  const under = ((below >>> 24) / 255) * (1 - opacity), alpha = opacity + under;
  const mix = (over, shift) => Math.round((over * opacity + ((below >>> shift) & 255) * under) / alpha);
  return pack([mix(rgb[0], 0), mix(rgb[1], 8), mix(rgb[2], 16)], Math.round(alpha * 255));
}

function union(a, b) {
  // An outline is drawn one pixel beyond its shape.
  const x = Math.max(0, b.x - 1), y = Math.max(0, b.y - 1), right = b.x + b.w + 1, low = b.y + b.h + 1;
  if (!a) return { x, y, w: right - x, h: low - y };
  const left = Math.min(a.x, x), top = Math.min(a.y, y);
  return { x: left, y: top, w: Math.max(a.x + a.w, right) - left, h: Math.max(a.y + a.h, low) - top };
}

/** Above its shape where there is room; of two in one place the one in front keeps it. */
function label(context, items) {
  const size = Math.max(11, Math.round(Math.min(context.canvas.width, context.canvas.height) / 36)), taken = [];
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { shape, rgb, text } of [...items].reverse()) {
    const w = Math.ceil(context.measureText(text).width) + size, h = size + 6;
    const x = Math.max(0, Math.min(shape.x, context.canvas.width - w));
    let y = shape.y >= h ? shape.y - h : shape.y;
    for (const t of taken) if (x < t.x + t.w && t.x < x + w && y < t.y + t.h && t.y < y + h) y = t.y + t.h;
    if (y + h > context.canvas.height) continue;
    taken.push({ x, y, w, h });
    context.fillStyle = css(rgb);
    context.fillRect(x, y, w, h);
    context.fillStyle = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 128 ? "#141414" : "#fff";
    context.fillText(text, x + size / 2, y + h / 2 + 1);
  }
}
