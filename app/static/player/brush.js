// Correcting one frame's mask on the player's picture: brush, eraser, polygon, fill; zoom and pan. It works in the
// video's own pixels, one byte each, row by row, so that what is drawn is what is kept.

import { make } from "./dom.js";
import { runs } from "./rle.js";

const TOOLS = [["brush", "Brush"], ["eraser", "Eraser"], ["polygon", "Polygon"], ["fill", "Fill"], ["pan", "Pan"]];
const STEPS_BACK = 30;
const COLOUR = [255, 214, 10, 150];

/** The mask of COCO's compressed run lengths, one byte a pixel, row by row; all background for no text. */
export function decode(text, [height, width]) {
  const bits = new Uint8Array(height * width);
  if (!text) return bits;
  let at = 0, on = 0;
  for (const count of runs(text)) {
    if (on) for (let i = at; i < at + count; i++) bits[(i % height) * width + Math.floor(i / height)] = 1;
    at += count;
    on ^= 1;
  }
  return bits;
}

/** The same the other way: counts go down the columns, the first one is background, from the fourth on differences. */
export function encode(bits, [height, width]) {
  const counts = [];
  let last = 0, count = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const bit = bits[y * width + x];
      if (bit !== last) counts.push(count), (count = 0), (last = bit);
      count++;
    }
  }
  counts.push(count);
  return counts.map((it, i) => letters(i > 2 ? it - counts[i - 2] : it)).join("");
}

function letters(number) {
  let text = "", more = true;
  while (more) {
    let group = number & 31;
    number >>= 5;
    more = group & 16 ? number !== -1 : number !== 0;
    if (more) group |= 32;
    text += String.fromCharCode(group + 48);
  }
  return text;
}

/** A disc of `radius` round every place of the way from a to b, pixels: set to `bit`. */
export function stroke(bits, [height, width], [ax, ay], [bx, by], radius, bit) {
  const steps = Math.max(1, Math.ceil(Math.hypot(bx - ax, by - ay) / Math.max(0.5, radius / 3)));
  for (let i = 0; i <= steps; i++) disc(bits, [height, width], ax + ((bx - ax) * i) / steps, ay + ((by - ay) * i) / steps, radius, bit);
}

function disc(bits, [height, width], cx, cy, radius, bit) {
  const [top, low] = [Math.max(0, Math.floor(cy - radius)), Math.min(height - 1, Math.ceil(cy + radius))];
  for (let y = top; y <= low; y++) {
    const half = radius * radius - (y + 0.5 - cy) ** 2;
    if (half < 0) continue;
    const reach = Math.sqrt(half), from = Math.max(0, Math.ceil(cx - reach - 0.5)), to = Math.min(width - 1, Math.floor(cx + reach - 0.5));
    if (from <= to) bits.fill(bit, y * width + from, y * width + to + 1);
  }
  const [x, y] = [Math.floor(cx), Math.floor(cy)]; // the smallest brush is one pixel
  if (x >= 0 && y >= 0 && x < width && y < height) bits[y * width + x] = bit;
}

/** All pixels whose centre is inside of the corners [x, y] become foreground: even-odd rule. */
export function polygon(bits, [height, width], corners) {
  for (let y = 0; y < height; y++) {
    const at = y + 0.5, cuts = [];
    for (let i = 0; i < corners.length; i++) {
      const [x1, y1] = corners[i], [x2, y2] = corners[(i + 1) % corners.length];
      if (y1 <= at !== y2 <= at) cuts.push(x1 + ((at - y1) / (y2 - y1)) * (x2 - x1));
    }
    cuts.sort((a, b) => a - b);
    for (let i = 0; i + 1 < cuts.length; i += 2) {
      const from = Math.max(0, Math.ceil(cuts[i] - 0.5)), to = Math.min(width, Math.ceil(cuts[i + 1] - 0.5));
      if (from < to) bits.fill(1, y * width + from, y * width + to);
    }
  }
}

/** The background that hangs together with (x, y) becomes foreground; unless it reaches the border: then nothing is enclosed. */
export function fill(bits, [height, width], x, y) {
  const start = Math.floor(y) * width + Math.floor(x), seen = new Uint8Array(bits.length), stack = [start];
  if (bits[start]) return false;
  seen[start] = 1;
  for (let i = 0; i < stack.length; i++) {
    const at = stack[i], column = at % width, row = (at - column) / width;
    if (!column || !row || column === width - 1 || row === height - 1) return false;
    for (const next of [at - 1, at + 1, at - width, at + width]) {
      if (!seen[next] && !bits[next]) (seen[next] = 1), stack.push(next);
    }
  }
  for (const at of stack) bits[at] = 1;
  return true;
}

/** The editor over one pane of the player. on: {change(counts), close()}. */
export class Brush {
  constructor(player, on) {
    this.player = player;
    this.on = on;
    this.tool = "brush";
    this.radius = 8;
    this.canvas = make("canvas", { class: "brush-canvas", "aria-label": "Mask of this frame", role: "img" });
    this.size = make("input", { type: "range", min: "1", max: "80", value: "8", "aria-label": "Brush size" });
    this.size.addEventListener("input", () => this.setRadius(Number(this.size.value)));
    this.tools = TOOLS.map(([name, label]) => press(label, () => this.use(name), name));
    this.taken = press("Take the prediction here", () => this.take());
    this.bar = make("div", { class: "brush-bar", role: "toolbar", "aria-label": "Mask correction" }, ...this.tools, this.size, this.taken,
      press("Clear", () => this.edit(() => this.bits.fill(0))), press("Step back", () => this.back()), press("Whole picture", () => this.whole()), press("Close", () => this.close()));
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel", "dblclick", "wheel"]) this.canvas.addEventListener(name, (event) => this[name](event));
  }

  /** Begin on a frame. counts: the mask as it is; predicted: the other one that may be taken. */
  open({ frame, size, counts, predicted }) {
    this.close(false);
    Object.assign(this, { frame, sized: size, predicted, bits: decode(counts, size), past: [], corners: [], view: [1, 0, 0] });
    this.pane = this.player.panes.at(-1);
    this.pane.figure.classList.add("correcting");
    this.pane.figure.append(this.canvas);
    this.player.region.insertBefore(this.bar, this.player.controls.bar);
    this.taken.disabled = !predicted;
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.pane.canvas);
    this.frames = new MutationObserver(() => this.onFrame());
    this.frames.observe(this.player.region, { attributeFilter: ["data-frame"] });
    this.opened = true;
    this.use(this.tool);
    this.fit();
    this.onFrame();
  }

  close(told = true) {
    if (!this.opened) return;
    this.whole();
    this.opened = false;
    this.observer.disconnect();
    this.frames.disconnect();
    this.pane.figure.classList.remove("correcting");
    this.canvas.remove();
    this.bar.remove();
    if (told) this.on.close();
  }

  // --- what is seen

  fit() {
    const { canvas } = this.pane, [height, width] = this.sized;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    Object.assign(this.canvas.style, { width: `${canvas.clientWidth}px`, height: `${canvas.clientHeight}px`, left: `${canvas.offsetLeft}px`, top: `${canvas.offsetTop}px` });
    this.draw();
  }

  draw() {
    const [height, width] = this.sized, context = this.canvas.getContext("2d"), image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer), colour = (COLOUR[3] << 24) | (COLOUR[2] << 16) | (COLOUR[1] << 8) | COLOUR[0];
    for (let i = 0; i < pixels.length; i++) if (this.bits[i]) pixels[i] = colour;
    context.putImageData(image, 0, 0);
    if (this.corners.length) this.drawCorners(context);
    const [scale, x, y] = this.view;
    for (const it of [this.canvas, this.pane.canvas]) it.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
  }

  drawCorners(context) {
    context.strokeStyle = "#fff";
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of this.corners) context.lineTo(x, y);
    context.stroke();
    for (const [x, y] of this.corners) context.strokeRect(x - 1.5, y - 1.5, 3, 3);
  }

  /** It is of one frame: on any other it is out of sight, and out of reach. */
  onFrame() {
    this.canvas.hidden = Number(this.player.region.dataset.frame) !== this.frame;
  }

  whole() {
    this.view = [1, 0, 0];
    this.draw();
  }

  // --- what people do

  use(tool) {
    if (tool !== "polygon") this.corners = [];
    this.tool = tool;
    for (const it of this.tools) it.setAttribute("aria-pressed", String(it.dataset.tool === tool));
    this.canvas.style.cursor = tool === "pan" ? "grab" : "crosshair";
    if (this.opened) this.draw();
  }

  setRadius(radius) {
    this.radius = Math.min(80, Math.max(1, radius));
    this.size.value = String(this.radius);
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect(), [height, width] = this.sized;
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  }

  remember() {
    this.past.push(this.bits.slice());
    if (this.past.length > STEPS_BACK) this.past.shift();
  }

  /** Change the mask by `act`; it can be taken back. */
  edit(act) {
    this.remember();
    act();
    this.changed();
  }

  changed() {
    this.draw();
    this.on.change(encode(this.bits, this.sized));
  }

  back() {
    if (this.corners.length) this.corners.pop(), this.draw();
    else if (this.past.length) (this.bits = this.past.pop()), this.changed();
  }

  take() {
    if (this.predicted) this.edit(() => (this.bits = decode(this.predicted, this.sized)));
  }

  pointerdown(event) {
    event.preventDefault();
    const at = this.place(event);
    if (this.tool === "polygon") return this.corner(at);
    if (this.tool === "fill") return this.edit(() => fill(this.bits, this.sized, ...at));
    this.canvas.setPointerCapture(event.pointerId);
    this.held = { at, x: event.clientX, y: event.clientY };
    if (this.tool === "pan" || event.button === 1) return void (this.held.pan = [...this.view]);
    this.remember();
    this.paintTo(at);
  }

  pointermove(event) {
    if (!this.held) return;
    if (!this.held.pan) return this.paintTo(this.place(event));
    const [scale, x, y] = this.held.pan;
    this.view = [scale, x + event.clientX - this.held.x, y + event.clientY - this.held.y];
    this.draw();
  }

  pointerup() {
    if (this.held && !this.held.pan) this.changed();
    this.held = null;
  }

  pointercancel() {
    this.pointerup();
  }

  paintTo(at) {
    stroke(this.bits, this.sized, this.held.at, at, this.radius, this.tool === "eraser" ? 0 : 1);
    this.held.at = at;
    this.draw();
  }

  /** One more corner; on the first one again the polygon is whole. */
  corner(at) {
    const [first] = this.corners, near = 6 / this.view[0];
    if (this.corners.length > 2 && Math.hypot(at[0] - first[0], at[1] - first[1]) < near) return this.closePolygon();
    this.corners.push(at);
    this.draw();
  }

  closePolygon() {
    if (this.corners.length > 2) this.edit(() => polygon(this.bits, this.sized, this.corners.splice(0)));
  }

  dblclick() {
    if (this.tool === "polygon") this.closePolygon();
  }

  wheel(event) {
    event.preventDefault();
    const [scale, x, y] = this.view, next = Math.min(8, Math.max(1, scale * (event.deltaY < 0 ? 1.25 : 0.8)));
    const box = this.pane.figure.getBoundingClientRect(), left = this.canvas.offsetLeft, top = this.canvas.offsetTop;
    const [px, py] = [event.clientX - box.left - left, event.clientY - box.top - top];
    this.view = next === 1 ? [1, 0, 0] : [next, px - ((px - x) * next) / scale, py - ((py - y) * next) / scale];
    this.draw();
  }

  /** What a key does while it is open, null for nothing: only what belongs to drawing. */
  keyed(event) {
    const held = event.ctrlKey || event.metaKey, nothing = !this.past.length && !this.corners.length;
    if (!this.opened || this.canvas.hidden || event.altKey || event.target.matches?.("textarea, select, input:not([type=range])")) return null;
    if (held) return event.key === "z" && !nothing ? () => this.back() : null;
    return this.action(event.key) ?? null;
  }

  action(key) {
    const grow = Math.max(1, Math.round(this.radius / 5));
    const tools = { b: "brush", e: "eraser", g: "polygon", f: "fill", h: "pan" };
    if (tools[key]) return () => this.use(tools[key]);
    if (key === "Enter" && this.corners.length > 2) return () => this.closePolygon();
    return { "[": () => this.setRadius(this.radius - grow), "]": () => this.setRadius(this.radius + grow), t: () => this.take(), Escape: () => this.close() }[key];
  }
}

function press(label, act, tool = "") {
  const made = make("button", { type: "button", ...(tool ? { "data-tool": tool } : {}) }, label);
  made.addEventListener("click", act);
  return made;
}
