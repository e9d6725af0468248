// The video player: pictures with masks, a timeline, controls and keys. `mount` is what the page calls.

import { Controls } from "./controls.js";
import { make } from "./dom.js";
import { Lanes } from "./lanes.js";
import { Masks } from "./masks.js";
import { colour, Screen } from "./paint.js";
import { openPictures } from "./pictures.js";

const WIDEST = 1920; // canvas pixels
const QUIET = 150; // milliseconds in which the frame must not change before Python hears of it

/** root: address of the studio. tell(event): to Python. Returns the player. */
export function mount(element, root, tell) {
  const sheet = `${root}/studio/player/player.css`;
  if (!document.querySelector(`link[href="${sheet}"]`)) document.head.append(make("link", { rel: "stylesheet", href: sheet }));
  return new Player(element, root, tell);
}

class Player {
  constructor(element, root, tell) {
    this.root = root;
    this.tell = tell;
    this.look = { masks: true, contours: true, labels: true, opacity: 0.5, by: "track" };
    this.hidden = new Set();
    this.shown = null; // per layer the ids that a filter leaves, null for all
    this.selected = null;
    this.partners = new Set(); // chosen together with what is selected
    this.lit = null;
    this.frame = 0;
    this.rate = 1;
    this.loop = false;
    this.playing = false;
    this.panes = [];
    this.controls = new Controls(this);
    const lanes = make("div", { class: "lanes" });
    this.screens = make("div", { class: "screens" });
    this.message = make("div", { class: "player-message" });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.region = make("section", { class: "player", role: "region", "aria-label": "Video player", tabindex: "0" },
      this.screens, this.controls.bar, lanes, this.tip, this.controls.help);
    this.screens.append(this.message);
    element.replaceChildren(this.region);
    this.lanes = new Lanes(lanes, {
      seek: (frame) => this.seek(frame),
      range: (first, last) => this.choose(first, last),
      select: (layer, track) => this.select(layer, track, true),
      hide: (key) => this.hide(key),
      alone: (key) => this.alone(key),
    });
    new ResizeObserver(() => this.fit()).observe(this.screens);
    this.state("empty");
    this.say("No video yet");
  }

  state(name) {
    this.region.dataset.state = name;
    this.controls.update();
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  get ready() {
    return this.show !== undefined && this.show !== null;
  }

  /** The frame that is shown, or that a seek under way goes to. */
  get target() {
    return this.wanted ?? this.frame;
  }

  /** A payload of app/player/component.py (`at`: the frame to begin with, `pair`: what is selected), or null for none. Another version of what is shown keeps frame and choices. */
  async load(show) {
    if (!show?.token) return this.unload();
    const same = this.show?.token === show.token && this.show.times.length === show.times.length;
    const form = (it) => JSON.stringify([it.panes, it.layout]);
    const laidOut = same && form(this.show) === form(show);
    const base = `${this.root}/studio/shows/${show.token}`;
    this.show = show;
    this.masks = new Masks(show, base);
    if (!same) this.open(base);
    if (!laidOut) this.layOut();
    this.lanes.load(show, (layer, track) => colour(show, layer, track, this.look.by), same);
    this.refreshLanes();
    if (!same && show.pair) this.choosePair(show.pair.map((it) => this.key(...it)));
    await this.attempt(laidOut ? this.refresh() : this.seek(same ? this.target : show.at ?? 0));
    if (this.show === show && !this.playing) this.state("ready");
  }

  open(base) {
    this.pause();
    this.forget();
    this.source?.close();
    this.source = openPictures(this.show, base, (picture, at) => this.drawn(picture, at));
    this.source.muted(this.controls.muted);
    this.state("loading");
    this.say("");
  }

  /** New masks for the frame that is shown. */
  async refresh() {
    const { masks } = this;
    await masks.load(this.frame);
    if (masks === this.masks) this.paint();
  }

  /** What fails is said, unless something else is shown by then. */
  async attempt(work) {
    const { show } = this;
    try {
      await work;
    } catch (error) {
      if (this.show === show) this.say(error.message);
    }
  }

  unload() {
    this.source?.close();
    this.source = this.show = null;
    this.forget();
    this.screens.replaceChildren(this.message);
    this.panes = [];
    this.lanes.clear();
    delete this.region.dataset.frame;
    this.region.dataset.tracks = "0";
    this.state("empty");
    this.say("No video yet");
  }

  forget() {
    this.hidden.clear();
    this.selected = this.lit = null;
    this.partners.clear();
    this.shown = null;
    this.range = null;
  }

  layOut() {
    this.panes = this.show.panes.map((pane) => {
      const canvas = make("canvas", { role: "img", "aria-label": `${this.show.name} ${pane.name}`.trim() });
      const figure = make("figure", { class: "pane" }, canvas, ...(pane.name ? [make("figcaption", {}, pane.name)] : []));
      const made = { ...pane, canvas, figure, screen: new Screen(canvas) };
      canvas.addEventListener("pointermove", (event) => this.hover(made, event));
      canvas.addEventListener("pointerleave", () => this.light(null));
      canvas.addEventListener("click", (event) => this.pick(made, event));
      return made;
    });
    const swipe = this.show.layout === "swipe" && this.panes.length > 1 ? [this.swipe()] : [];
    this.screens.replaceChildren(...this.panes.map((pane) => pane.figure), ...swipe, this.message);
    this.screens.dataset.layout = this.show.layout;
    this.screens.style.setProperty("--panes", this.show.layout === "side" ? this.panes.length : 1);
    this.fit();
  }

  /** The line between two panes that lie over one another. */
  swipe() {
    const slider = make("input", { type: "range", min: "0", max: "100", value: "50", class: "swipe", "aria-label": "Swipe" });
    const move = () => this.screens.style.setProperty("--swipe", `${slider.value}%`);
    slider.addEventListener("input", move);
    move();
    return slider;
  }

  /** Canvases as large as they are seen. */
  fit() {
    let changed = false;
    for (const { canvas, figure, screen } of this.panes) {
      const shape = (this.show.width * this.show.aspect) / this.show.height;
      const wide = Math.min(figure.clientWidth, this.room() * shape);
      const width = Math.max(16, Math.min(WIDEST, Math.round(wide * (devicePixelRatio || 1))));
      const height = Math.max(16, Math.round(width / shape));
      canvas.style.width = `${wide}px`;
      if (canvas.width === width && canvas.height === height) continue;
      screen.resize(width, height);
      changed = true;
    }
    if (changed && this.region.dataset.frame !== undefined) this.seek(this.target);
  }

  room() {
    const rows = this.show.layout === "stacked" ? this.panes.length : 1;
    return Math.max(160, Math.min(innerHeight * 0.64, innerHeight - 260)) / Math.min(2, rows);
  }

  // --- moving

  seek(frame) {
    return this.ready ? this.attempt(this.find(frame)) : Promise.resolve();
  }

  async find(frame) {
    this.pause();
    const wanted = Math.min(this.show.times.length - 1, Math.max(0, Math.round(frame)));
    this.wanted = wanted;
    await this.masks.load(wanted);
    if (this.wanted !== wanted) return;
    await this.source.seek(wanted);
    this.mention();
  }

  step(count) {
    this.seek((this.region.dataset.state === "playing" ? this.frame : this.target) + count);
  }

  /** A picture has come: it and its masks are drawn in one go. */
  drawn(picture, frame) {
    if (!this.masks.has(frame)) return this.attempt(this.stall(frame));
    const { range } = this;
    if (this.playing && this.loop && range && frame > range[1]) return this.attempt(this.again(range[0]));
    this.frame = frame;
    if (this.playing) {
      this.wanted = frame;
      this.attempt(this.masks.load(frame)); // those to come
    }
    for (const { screen } of this.panes) screen.picture(picture, this.show.shown);
    this.paint();
    this.region.dataset.frame = frame;
    this.lanes.moveTo(frame);
    this.controls.moved();
  }

  /** While playing, masks that are late hold the video up: no frame is shown without its own. */
  async stall(frame) {
    const resume = this.playing;
    this.source.pause();
    await this.masks.load(frame);
    await this.source.seek(frame);
    if (resume && this.playing) this.roll();
  }

  async play() {
    if (!this.ready || this.playing) return;
    const [first, last] = this.loop && this.range ? this.range : [0, this.show.times.length - 1];
    if (this.frame >= last || this.frame < first) await this.seek(first);
    this.playing = true;
    this.state("playing");
    this.roll();
  }

  roll() {
    this.attempt(this.source.play(this.rate, () => this.ended()));
  }

  ended() {
    if (this.loop) return this.attempt(this.again(this.range?.[0] ?? 0));
    this.pause();
    // What was too late to be drawn on the way: the end is the last frame.
    this.seek(this.show.times.length - 1);
  }

  async again(frame) {
    this.source.pause();
    await this.masks.load(frame);
    await this.source.seek(frame);
    if (this.playing) this.roll();
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.source.pause();
    this.state("ready");
    this.mention();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  setRate(rate) {
    this.rate = rate;
    if (this.playing) {
      this.source.pause();
      this.roll();
    }
    this.controls.update();
  }

  setLoop(on) {
    this.loop = on;
    this.controls.update();
  }

  choose(first, last) {
    this.range = first === undefined ? null : [first, last];
    this.lanes.setRange(this.range);
    this.controls.update();
    this.tell({ kind: "range", frame: this.frame, first: first ?? null, last: last ?? null });
  }

  /** The next (1) or the one before (-1) frame at which the selected track, or any, comes or goes. */
  change(direction) {
    if (!this.ready) return;
    const tracks = this.selected ? [this.track(this.selected)] : [...this.visible()].map(([, , track]) => track);
    const edges = tracks.flatMap((track) => track.seen.flat()).filter((at) => at < this.show.times.length);
    const beyond = edges.filter((at) => (at - this.frame) * direction > 0);
    if (beyond.length) this.seek(direction > 0 ? Math.min(...beyond) : Math.max(...beyond));
  }

  // --- tracks

  key(layer, track) {
    return `${layer}:${track}`;
  }

  track(key) {
    const [layer, id] = key.split(":").map(Number);
    return this.show.layers[layer].tracks.find((track) => track.id === id);
  }

  /** [key, layer's place, track] of every track that filters and eyes leave. */
  *visible() {
    for (const [place, layer] of this.show.layers.entries()) {
      for (const track of layer.tracks) {
        const key = this.key(place, track.id);
        if (!this.hidden.has(key) && !this.filtered(place, track.id)) yield [key, place, track];
      }
    }
  }

  filtered(place, id) {
    const left = this.shown?.[place];
    return Array.isArray(left) && !left.includes(id);
  }

  /** What a filter leaves: for each layer the ids of its tracks, or null for all of them. */
  filter(shown) {
    this.shown = shown;
    if (!this.ready) return;
    this.refreshLanes();
    this.paint();
  }

  refreshLanes() {
    const keys = this.show.layers.flatMap((layer, place) => layer.tracks.map((track) => [this.key(place, track.id), place, track.id]));
    const out = new Set(keys.filter(([, place, id]) => this.filtered(place, id)).map(([key]) => key));
    this.lanes.mark({ hidden: this.hidden, out, chosen: new Set([this.selected, ...this.partners]), lit: this.lit });
    this.region.dataset.tracks = [...this.visible()].length;
    this.controls.update();
  }

  hide(key) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    this.refreshLanes();
    this.paint();
  }

  /** Only this track; once more: all. */
  alone(key) {
    const others = this.show.layers.flatMap((layer, place) => layer.tracks.map((track) => this.key(place, track.id))).filter((it) => it !== key);
    const already = !this.hidden.has(key) && others.every((other) => this.hidden.has(other));
    this.hidden = new Set(already ? [] : others);
    this.refreshLanes();
    this.paint();
  }

  /** Select a track and send it to Python. Selecting what is selected lets go of it where `toggle`. */
  select(layer, id, toggle = false) {
    if (!this.ready) return;
    const key = layer === null ? null : this.key(layer, id);
    this.choosePair(toggle && key === this.selected ? [] : [key]);
    const chosen = this.selected !== null;
    this.tell({ kind: "track", frame: this.frame, layer: chosen ? layer : null, track: chosen ? id : null });
  }

  /** Select the first and mark the others beside it, without sending anything to Python. */
  choosePair([first, ...others]) {
    this.selected = first ?? null;
    this.partners = new Set(others);
    this.refreshLanes();
    if (first) this.lanes.reveal(first);
    this.paint();
  }

  selectNth(number) {
    const found = [...this.visible()][number - 1];
    if (found) this.select(found[1], found[2].id, true);
  }

  light(key) {
    if (key === this.lit) return;
    this.lit = key;
    this.tip.hidden = true;
    this.refreshLanes();
    this.paint();
  }

  hover(pane, event) {
    const [top] = this.under(pane, event);
    this.light(top ? top.key : null);
    if (!top) return;
    const box = this.region.getBoundingClientRect();
    this.tip.textContent = top.about;
    this.tip.hidden = false;
    const x = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${x}px, ${event.clientY - box.top + 16}px)`;
  }

  /** The topmost mask; where that is selected already, the one below it. */
  pick(pane, event) {
    const found = this.under(pane, event), place = found.findIndex((item) => item.key === this.selected);
    const next = found[(place + 1) % found.length];
    if (next) this.select(next.layer, next.track.id);
    else if (this.selected) this.select(null, null);
    this.region.focus({ preventScroll: true });
  }

  under({ screen, canvas }, event) {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    return screen.at((event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  }

  // --- drawing

  set(name, value) {
    this.look[name] = value;
    this.controls.update();
    if (!this.ready) return;
    if (name === "by") this.lanes.draw();
    this.paint();
    clearTimeout(this.looks);
    this.looks = setTimeout(() => this.mentionLook(), QUIET);
  }

  paint() {
    if (!this.masks.has(this.frame)) return;
    for (const pane of this.panes) {
      if (pane.canvas.width > 16) pane.screen.compose(this.items(pane), this.look);
    }
    this.region.dataset.drawn = performance.now().toFixed(2);
  }

  /** Ground truth at the back, the best prediction in front of all, but for the selected one. */
  items(pane) {
    const found = [], { width, height } = pane.canvas;
    for (const [key, place, track] of this.visible()) {
      if (!pane.layers.includes(place)) continue;
      const layer = this.show.layers[place], shape = this.masks.shape(place, track.id, this.frame, width, height);
      if (!shape) continue;
      const text = layer.truth ? `${track.id} ${track.label}` : `${track.id} ${track.label} ${track.score.toFixed(2)}`;
      const about = `${text} · ${layer.name}`, rgb = colour(this.show, layer, track, this.look.by);
      found.push({ key, layer: place, track, shape, text, about, rgb, dashed: !layer.truth, lit: key === this.lit, chosen: key === this.selected || this.partners.has(key) });
    }
    const rank = (item) => (item.chosen ? 10 : 0) + (item.dashed ? 2 + item.track.score : 0);
    return found.sort((a, b) => rank(a) - rank(b));
  }

  /** Python hears where the player rests, not every frame on the way. */
  mention() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      if (this.ready && !this.playing) this.tell({ kind: "frame", frame: this.frame });
    }, QUIET);
  }

  mentionLook() {
    const { masks, opacity, contours, labels } = this.look;
    if (this.ready) this.tell({ kind: "look", frame: this.frame, opacity: masks ? opacity : 0, contours, labels });
  }

  /** What Python asks for: {seek: frame}, {part: of the whole way}, {select: [layer, track] or null}, {pair: [[layer, track], …]}. */
  applyCommand(command) {
    if (!this.ready || !command) return;
    if (Number.isInteger(command.seek)) this.seek(command.seek);
    if (typeof command.part === "number") this.seek(Math.floor(command.part * this.show.times.length));
    // Not sent back: Python has it already, and a late answer would undo what is selected in the meantime.
    if (command.select === null) this.choosePair([]);
    else if (Array.isArray(command.select)) this.choosePair([this.key(...command.select)]);
    if (Array.isArray(command.pair)) this.choosePair(command.pair.map((it) => this.key(...it)));
  }
}
