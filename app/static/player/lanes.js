// The timeline: a ruler, a lane for every track, a cursor over all of them.

import { css } from "./paint.js";
import { make } from "./dom.js";

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];
const TICK = 56; // pixels that a number on the ruler needs

export class Lanes {
  /** host: element to fill. on: {seek(frame), range(first, last), select(layer, track), hide(key), alone(key)}. */
  constructor(host, on) {
    this.on = on;
    this.rows = new Map(); // key -> {row, strip, name, eye, layer, track}
    this.ruler = make("canvas", { class: "ruler", "aria-hidden": "true" });
    this.body = make("div", { class: "lanes-body", role: "table", "aria-label": "Tracks" });
    this.cursor = make("div", { class: "cursor", "aria-hidden": "true" });
    host.append(make("div", { class: "lanes-head" }, make("span", { class: "lanes-corner" }), this.ruler), this.body, this.cursor);
    this.host = host;
    this.view = [0, 1];
    this.frame = 0;
    this.range = null;
    new ResizeObserver(() => this.draw()).observe(this.ruler);
    this.listen();
  }

  /** same: another version of what is shown; view and range stay. */
  load(show, colourOf, same) {
    this.show = show;
    this.colourOf = colourOf;
    if (!same) [this.view, this.range] = [[0, show.times.length], null];
    this.rows.clear();
    this.body.replaceChildren(...show.layers.flatMap((layer, place) => this.group(layer, place)));
    this.draw();
  }

  clear() {
    this.show = null;
    this.rows.clear();
    this.body.replaceChildren();
    this.ruler.getContext("2d").clearRect(0, 0, this.ruler.width, this.ruler.height);
  }

  group(layer, place) {
    if (!layer.tracks.length) return [make("p", { class: "lanes-none" }, `${layer.name}: no tracks`)];
    const rows = layer.tracks.map((track) => this.row(layer, place, track));
    return [make("div", { class: "lanes-group", role: "rowgroup", "aria-label": layer.name },
      make("div", { class: "lanes-title", "aria-hidden": "true" }, layer.name), ...rows)];
  }

  row(layer, place, track) {
    const key = `${place}:${track.id}`, title = `${track.id} ${track.label}`, score = layer.truth ? "" : track.score.toFixed(2);
    const seen = track.seen.reduce((sum, [first, stop]) => sum + stop - first, 0);
    const eye = make("button", { class: "eye", type: "button", "aria-pressed": "true", "aria-label": `Show ${title}`, title: "Hide or show" });
    const name = make("button", { class: "lane-name", type: "button", "aria-pressed": "false", title: `${title} ${score}\nDouble click: alone` },
      make("i", { class: layer.truth ? "dot truth" : "dot" }), make("span", {}, title), make("span", { class: "lane-score" }, score));
    const strip = make("canvas", { class: "strip", role: "img", "aria-label": `seen in ${seen} of ${this.show.times.length} frames` });
    const cell = (content, style) => make("div", { role: "cell", class: style }, content);
    const row = make("div", { class: "lane", role: "row", "aria-label": title, "data-key": key },
      cell(eye, "lane-eye"), cell(name, "lane-label"), cell(strip, "lane-strip"));
    eye.addEventListener("click", () => this.on.hide(key));
    name.addEventListener("click", () => this.on.select(place, track.id));
    name.addEventListener("dblclick", () => this.on.alone(key));
    this.rows.set(key, { row, strip, name, eye, layer, track });
    return row;
  }

  /** hidden: keys that their eye hides. out: keys that a filter takes away. */
  mark({ hidden, out, chosen, lit }) {
    for (const [key, { row, name, eye }] of this.rows) {
      row.hidden = out.has(key);
      row.classList.toggle("off", hidden.has(key));
      row.classList.toggle("lit", key === lit);
      row.classList.toggle("selected", chosen.has(key));
      name.setAttribute("aria-pressed", String(chosen.has(key)));
      eye.setAttribute("aria-pressed", String(!hidden.has(key)));
    }
  }

  /** Within the lanes: the page itself stays where it is. */
  reveal(key) {
    const row = this.rows.get(key)?.row, { body } = this;
    if (!row || row.hidden) return;
    const [box, own] = [body.getBoundingClientRect(), row.getBoundingClientRect()];
    if (own.top < box.top) body.scrollTop -= box.top - own.top;
    else if (own.bottom > box.bottom) body.scrollTop += own.bottom - box.bottom;
  }

  zoom(factor, around = this.frame) {
    const [from, to] = this.view, total = this.show.times.length;
    const width = Math.min(total, Math.max(Math.min(total, 8), (to - from) * factor));
    const part = (around + 0.5 - from) / (to - from);
    const start = Math.min(total - width, Math.max(0, around + 0.5 - width * Math.min(1, Math.max(0, part))));
    this.view = [start, start + width];
    this.draw();
  }

  fit() {
    this.view = [0, this.show.times.length];
    this.draw();
  }

  moveTo(frame) {
    this.frame = frame;
    const [from, to] = this.view;
    if (frame < from || frame + 1 > to) {
      const width = to - from, start = Math.min(this.show.times.length - width, Math.max(0, frame - width * 0.1));
      this.view = [start, start + width];
      this.draw();
    }
    this.place();
  }

  place() {
    const [left, width] = this.span();
    this.cursor.style.transform = `translateX(${left + this.x(this.frame + 0.5, width)}px)`;
  }

  /** Left edge of the strips within the host, and their width: CSS pixels. */
  span() {
    return [this.ruler.offsetLeft, this.ruler.clientWidth];
  }

  x(frame, width) {
    return ((frame - this.view[0]) / (this.view[1] - this.view[0])) * width;
  }

  draw() {
    if (!this.show || !this.ruler.clientWidth) return;
    this.host.style.setProperty("--scrollbar", `${this.body.offsetWidth - this.body.clientWidth}px`);
    this.drawRuler();
    for (const key of this.rows.keys()) this.drawStrip(key);
    this.place();
  }

  drawRuler() {
    const width = this.ruler.clientWidth, context = sized(this.ruler, width, 22), ink = getComputedStyle(this.ruler);
    if (this.range) {
      context.fillStyle = ink.getPropertyValue("--player-range");
      const [a, b] = [this.x(this.range[0], width), this.x(this.range[1] + 1, width)];
      context.fillRect(a, 0, Math.max(2, b - a), 22);
    }
    const step = STEPS.find((it) => this.x(this.view[0] + it, width) >= TICK) ?? STEPS.at(-1);
    context.fillStyle = ink.color;
    context.font = "11px system-ui, sans-serif";
    for (let frame = Math.ceil(this.view[0] / step) * step; frame < this.view[1]; frame += step) {
      const x = Math.round(this.x(frame, width));
      context.fillRect(x, 15, 1, 7);
      context.fillText(String(frame + this.show.first), x + 3, 12);
    }
  }

  drawStrip(key) {
    const { strip, layer, track } = this.rows.get(key), width = this.ruler.clientWidth;
    const context = sized(strip, width, 14), rgb = this.colourOf(layer, track);
    strip.closest(".lane").style.setProperty("--track", css(rgb));
    context.fillStyle = css(rgb);
    context.globalAlpha = layer.truth ? 1 : 0.35 + 0.65 * Math.min(1, Math.max(0, track.score));
    for (const [first, stop] of track.seen) {
      const a = this.x(first, width), b = this.x(stop, width);
      if (b > 0 && a < width) context.fillRect(a, 2, Math.max(1, b - a), 10);
    }
    context.globalAlpha = 1;
    for (const mark of track.marks ?? []) drawMark(context, this.x(mark.frame, width), mark.kind);
  }

  frameAt(event) {
    const box = this.ruler.getBoundingClientRect();
    const frame = this.view[0] + ((event.clientX - box.left) / box.width) * (this.view[1] - this.view[0]);
    return Math.min(this.show.times.length - 1, Math.max(0, Math.floor(frame)));
  }

  /** Press and let go: seek. Press, move, let go: a range. With ctrl, the wheel zooms. */
  listen() {
    this.host.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.target.matches?.(".ruler, .strip")) return;
      const first = this.frameAt(event), began = event.clientX;
      let moved = false;
      const move = (now) => {
        moved ||= Math.abs(now.clientX - began) > 4;
        if (moved) this.setRange([first, this.frameAt(now)].sort((a, b) => a - b));
      };
      const done = (now) => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", done);
        removeEventListener("pointercancel", done);
        if (!moved) this.on.seek(this.frameAt(now));
        else this.on.range(...this.range);
      };
      addEventListener("pointermove", move);
      addEventListener("pointerup", done);
      addEventListener("pointercancel", done);
      event.preventDefault();
    });
    this.host.addEventListener("wheel", (event) => {
      if (!event.ctrlKey || !this.show) return;
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.frameAt(event));
    }, { passive: false });
  }

  setRange(range) {
    this.range = range;
    this.draw();
  }
}

function drawMark(context, x, kind) {
  context.fillStyle = kind === "switch" ? "#d92d20" : "#f79009";
  context.beginPath();
  context.moveTo(x - 4, 0);
  context.lineTo(x + 4, 0);
  context.lineTo(x, 7);
  context.fill();
}

function sized(canvas, width, height) {
  const scale = devicePixelRatio || 1;
  Object.assign(canvas, { width: Math.max(1, Math.round(width * scale)), height: Math.round(height * scale) });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return context;
}
