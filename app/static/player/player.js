// The video player: pictures with masks, a timeline, controls and keys. `mount` is what the page calls.

import { Controls } from "./controls.js";
import { createElement, debounce } from "./dom.js";
import { openFrames } from "./frames.js";
import { MaskCache } from "./masks.js";
import { paintOrder, trackColour, trackColours } from "./paint.js";
import { Panes } from "./panes.js";
import { clampFrame } from "./times.js";
import { Timeline } from "./timeline.js";

/** @import { Command, Emit, FrameRange, FrameStream, Item, MaskStyle, Rgb, Track, TrackFilter, TrackRef, View } from "./types.js" */
/** @import { Pane } from "./panes.js" */

/**
 * @param {HTMLElement} element to fill
 * @param {string} root address of the studio
 * @param {Emit} emit sends an event to Python
 */
export function mount(element, root, emit) {
  return new Player(element, root, emit);
}

/** @param {number} layer @param {number} id */
const keyOf = (layer, id) => `${layer}:${id}`;

export class Player {
  /**
   * @param {HTMLElement} element
   * @param {string} root
   * @param {Emit} emit
   */
  constructor(element, root, emit) {
    this.root = root;
    // With the view that it is about: Python may have sent another one in the meantime.
    /** @type {Emit} */
    this.emit = (event) => emit({ ...event, token: this.view?.token });
    /** @type {View | null} */
    this.view = null;
    /** @type {MaskCache | null} */
    this.masks = null;
    /** @type {FrameStream | null} */
    this.stream = null;
    /** @type {MaskStyle} */
    this.style = { masks: true, contours: true, labels: true, opacity: 0.5, by: "track" };
    /** @type {Set<string>} keys of tracks that their eye hides */
    this.hidden = new Set();
    /** @type {TrackFilter} */
    this.shown = null;
    /** @type {Map<Track, Rgb>} different for all tracks of a layer that the filter keeps */
    this.colours = new Map();
    /** @type {string | null} */
    this.selected = null;
    /** @type {Set<string>} keys of tracks that are selected together with it */
    this.partners = new Set();
    /** @type {string | null} the track under the pointer */
    this.highlighted = null;
    /** @type {string | null} a track that an editor draws instead */
    this.concealed = null;
    this.frame = 0;
    /** @type {number | null} the frame that a seek goes to */
    this.wanted = null;
    /** @type {FrameRange | null} */
    this.range = null;
    /** @type {Command | null} the last one of Python */
    this.command = null;
    this.rate = 1;
    this.loop = false;
    this.playing = false;
    this.emitFrameLater = debounce(() => {
      if (this.view && !this.playing) this.emit({ kind: "frame", frame: this.frame });
    });
    this.emitStyleLater = debounce(() => {
      const { masks, opacity, contours, labels } = this.style;
      if (this.view) this.emit({ kind: "look", frame: this.frame, opacity: masks ? opacity : 0, contours, labels });
    });

    this.controls = new Controls(this);
    const lanes = createElement("div", { class: "lanes" });
    this.panes = new Panes(this);
    this.message = createElement("div", { class: "player-message" });
    this.tip = createElement("div", { class: "tip", hidden: "" });
    this.region = createElement("section", { class: "player", role: "region", "aria-label": "Video player", tabindex: "0" },
      this.panes.element, this.controls.bar, lanes, this.tip, this.controls.help);
    this.panes.element.append(this.message);
    element.replaceChildren(this.region);
    this.timeline = new Timeline(lanes, {
      seek: (frame) => this.seek(frame),
      range: (first, last) => this.setRange([first, last]),
      select: (layer, track) => this.select([layer, track], true),
      hide: (key) => this.toggleHidden(key),
      isolate: (key) => this.isolate(key),
    }, this.controls.corner);
    this.setState("empty");
    this.showMessage("No video yet");
  }

  /** @param {"empty" | "loading" | "ready" | "playing"} state */
  setState(state) {
    this.region.dataset.state = state;
    this.controls.update();
  }

  /** @param {string} text */
  showMessage(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  get ready() {
    return this.view !== null;
  }

  get lastFrame() {
    return this.view ? this.view.times.length - 1 : 0;
  }

  /** The current frame, or the one that a seek goes to. */
  get target() {
    return this.wanted ?? this.frame;
  }

  // --- loading

  /**
   * Show a view, or nothing. Another version of the current view keeps frame, selection and zoom.
   * @param {View | null} view
   */
  async load(view) {
    if (!view?.token) return this.unload();
    const before = this.view;
    const same = before?.token === view.token && before.video === view.video && before.times.length === view.times.length;
    const sameLayout = same && JSON.stringify([before.panes, before.layout]) === JSON.stringify([view.panes, view.layout]);
    const base = `${this.root}/studio/shows/${view.token}`;
    if (!same) {
      this.pause();
      this.reset();
      this.stream?.close();
    }
    this.view = view;
    this.masks = new MaskCache(view, base);
    if (!same) {
      const stream = openFrames(view, base, (picture, frame) => this.stream === stream && this.onPicture(picture, frame));
      stream.setMuted(this.controls.muted);
      this.stream = stream;
      this.setState("loading");
      this.showMessage("");
    }
    if (!same) this.panes.reset();
    if (!sameLayout) this.panes.layOut(view, this.message, before?.name === view.name);
    this.assignColours();
    this.timeline.load(view, (track) => this.colourOf(track), same);
    if (!same && view.range) this.showRange(view.range);
    this.updateTracks();
    this.controls.showKeys(view.keys ?? []);
    if (!same && view.pair) this.selectTracks(view.pair);
    // Until its first picture is drawn, the current frame is still one of another video.
    const drawn = sameLayout && !this.panes.opening;
    await this.attempt(drawn ? this.reloadMasks(this.masks) : this.seek(same ? this.target : view.at ?? 0));
    if (this.view !== view) return;
    this.panes.onLoaded(view);
    if (!this.playing) this.setState("ready");
  }

  /** New masks for the current frame. @param {MaskCache} masks */
  async reloadMasks(masks) {
    await masks.load(this.frame);
    if (masks !== this.masks) return;
    this.panes.follow();
    this.paint();
  }

  /**
   * Show the error of work that fails, unless another view is shown by then.
   * @param {Promise<unknown>} work
   */
  async attempt(work) {
    const { view } = this;
    try {
      await work;
    } catch (error) {
      if (this.view === view) this.showMessage(error instanceof Error ? error.message : String(error));
    }
  }

  unload() {
    this.stream?.close();
    this.stream = this.view = this.masks = null;
    this.playing = false;
    this.reset();
    this.panes.element.replaceChildren(this.message);
    this.panes.clear();
    this.timeline.clear();
    delete this.region.dataset.frame;
    this.region.dataset.tracks = "0";
    this.setState("empty");
    this.showMessage("No video yet");
  }

  reset() {
    this.hidden.clear();
    this.selected = this.highlighted = null;
    this.partners.clear();
    this.shown = null;
    this.range = null;
    this.announceRange();
  }

  // --- playing

  /**
   * Show a frame; errors are displayed.
   * @param {number} frame
   */
  seek(frame) {
    return this.attempt(this.seekExactly(frame));
  }

  /** @param {number} frame */
  async seekExactly(frame) {
    const { view, masks, stream } = this;
    if (!view || !masks || !stream) return;
    this.pause();
    const wanted = clampFrame(frame, view.times.length);
    this.wanted = wanted;
    await masks.load(wanted);
    if (this.wanted !== wanted || this.stream !== stream) return; // another view may be sought at the same frame
    await stream.seek(wanted);
    this.emitFrameLater();
  }

  /** @param {number} count frames */
  step(count) {
    this.seek((this.playing ? this.frame : this.target) + count);
  }

  /**
   * Draw a picture that has arrived together with its masks.
   * @param {CanvasImageSource} picture
   * @param {number} frame
   */
  onPicture(picture, frame) {
    const { view, masks, range } = this;
    if (!view || !masks) return;
    if (!masks.has(frame)) return void this.attempt(this.stall(frame));
    if (this.playing && this.loop && range && frame > range[1]) return void this.attempt(this.restart(range[0]));
    this.frame = frame;
    if (this.playing) {
      this.wanted = frame;
      this.attempt(masks.load(frame)); // and those of the next chunks
    }
    for (const { painter } of this.panes.list) painter.setPicture(picture, view.shown, this.panes.zoomable);
    this.panes.follow();
    this.paint();
    this.region.dataset.frame = String(frame);
    this.timeline.moveTo(frame);
    this.controls.updateTime();
  }

  /**
   * Playing waits for masks that are late: no frame is shown without its own.
   * @param {number} frame
   */
  async stall(frame) {
    const resume = this.playing;
    await this.showPaused(frame);
    if (resume && this.playing) this.run();
  }

  async play() {
    if (!this.view || this.playing) return;
    const [first, last] = this.loop && this.range ? this.range : [0, this.lastFrame];
    if (this.frame >= last || this.frame < first) await this.seek(first);
    this.playing = true;
    this.setState("playing");
    this.run();
  }

  run() {
    if (this.stream) this.attempt(this.stream.play(this.rate, () => this.onEnd()));
  }

  onEnd() {
    if (this.loop) return this.attempt(this.restart(this.range?.[0] ?? 0));
    this.pause();
    // The last frames may have been too late to be drawn while playing.
    return this.seek(this.lastFrame);
  }

  /**
   * Play on from another frame.
   * @param {number} frame
   */
  async restart(frame) {
    await this.showPaused(frame);
    if (this.playing) this.run();
  }

  /** @param {number} frame */
  async showPaused(frame) {
    this.stream?.pause();
    await this.masks?.load(frame);
    await this.stream?.seek(frame);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.stream?.pause();
    this.setState("ready");
    this.emitFrameLater();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** @param {number} rate */
  setRate(rate) {
    this.rate = rate;
    if (this.playing) {
      this.stream?.pause();
      this.run();
    }
    this.controls.update();
  }

  /** @param {boolean} loop */
  setLoop(loop) {
    this.loop = loop;
    this.controls.update();
  }

  /** @param {FrameRange | null} range */
  setRange(range) {
    this.showRange(range);
    this.emit({ kind: "range", frame: this.frame, first: range?.[0] ?? null, last: range?.[1] ?? null });
  }

  /** Without sending it to Python. @param {FrameRange | null} range */
  showRange(range) {
    this.range = range;
    this.timeline.setRange(range);
    this.controls.update();
    this.announceRange();
  }

  /** For modules beside the player, and for tests. */
  announceRange() {
    if (this.range) this.region.dataset.range = this.range.join(" ");
    else delete this.region.dataset.range;
    this.region.dispatchEvent(new CustomEvent("range"));
  }

  /** Move an end of the range to the current frame. @param {0 | 1} end */
  setRangeEnd(end) {
    const { target } = this, [first, last] = this.range ?? [target, target];
    this.setRange(end ? [Math.min(first, target), target] : [target, Math.max(last, target)]);
  }

  /**
   * Go to the next (1) or previous (-1) frame at which the selected track, or any visible one, appears or disappears.
   * @param {1 | -1} direction
   */
  seekChange(direction) {
    const tracks = this.selected ? [this.trackOf(this.selected)] : this.visibleTracks().map(({ track }) => track);
    const edges = tracks.flatMap((track) => track?.seen.flat() ?? []).filter((frame) => frame <= this.lastFrame);
    const from = this.playing ? this.frame : this.target;
    const beyond = edges.filter((frame) => (frame - from) * direction > 0);
    if (beyond.length) this.seek(direction > 0 ? Math.min(...beyond) : Math.max(...beyond));
  }

  // --- tracks

  /** @param {string} key */
  trackOf(key) {
    return this.allTracks().find((item) => item.key === key)?.track;
  }

  /** @returns {{ key: string, layer: number, track: Track }[]} */
  allTracks() {
    return this.view?.layers.flatMap(({ tracks }, layer) => tracks.map((track) => ({ key: keyOf(layer, track.id), layer, track }))) ?? [];
  }

  /** All but those that are filtered or hidden. */
  visibleTracks() {
    return this.allTracks().filter(({ key, layer, track }) => !this.hidden.has(key) && !this.isFiltered(layer, track.id));
  }

  /**
   * @param {number} layer
   * @param {number} id
   */
  isFiltered(layer, id) {
    const ids = this.shown?.[layer];
    return Array.isArray(ids) && !ids.includes(id);
  }

  /** @param {TrackFilter} shown */
  filter(shown) {
    this.shown = shown;
    if (!this.view) return;
    this.assignColours();
    this.timeline.draw();
    this.refresh();
  }

  assignColours() {
    const { view } = this;
    this.colours = new Map(view?.layers.flatMap(({ tracks }, layer) => {
      const shown = tracks.filter(({ id }) => !this.isFiltered(layer, id));
      const colours = trackColours(view.palette, shown.map(({ id }) => id));
      return shown.map((track) => /** @type {const} */ ([track, colours.get(track.id) ?? view.palette[0]]));
    }));
  }

  /** @param {Track} track @returns {Rgb} */
  colourOf(track) {
    return this.view ? trackColour(this.view, track, this.style.by, this.colours.get(track)) : [0, 0, 0];
  }

  /** Timeline, canvases and controls after a change of tracks. */
  refresh() {
    this.updateTracks();
    this.paint();
  }

  updateTracks() {
    const filtered = new Set(this.allTracks().filter(({ layer, track }) => this.isFiltered(layer, track.id)).map(({ key }) => key));
    this.timeline.mark({ hidden: this.hidden, filtered, selected: new Set([this.selected, ...this.partners]), highlighted: this.highlighted });
    this.region.dataset.tracks = String(this.visibleTracks().length);
    this.controls.update();
  }

  /** @param {string} key */
  toggleHidden(key) {
    if (!this.hidden.delete(key)) this.hidden.add(key);
    this.refresh();
  }

  /** Hide all other tracks; once more shows them again. @param {string} key */
  isolate(key) {
    const others = this.allTracks().map((item) => item.key).filter((other) => other !== key);
    const isolated = !this.hidden.has(key) && others.every((other) => this.hidden.has(other));
    this.hidden = new Set(isolated ? [] : others);
    this.refresh();
  }

  /**
   * Select a track, or none, and send that to Python.
   * @param {TrackRef | null} ref
   * @param {boolean} toggle whether a selected track is deselected
   */
  select(ref, toggle = false) {
    if (!this.view) return;
    const deselect = ref === null || (toggle && keyOf(...ref) === this.selected);
    this.selectTracks(deselect ? [] : [ref]);
    const [layer, track] = deselect ? [null, null] : ref;
    this.emit({ kind: "track", frame: this.frame, layer, track });
  }

  /**
   * Select the first track and mark the others with it; nothing is sent to Python.
   * @param {TrackRef[]} refs
   */
  selectTracks(refs) {
    const [first, ...others] = refs.map((ref) => keyOf(...ref));
    this.selected = first ?? null;
    this.partners = new Set(others);
    this.updateTracks();
    if (first) this.timeline.reveal(first);
    this.paint();
  }

  /** @returns {TrackRef[]} */
  selectedTracks() {
    return this.allTracks().filter(({ key }) => key === this.selected || this.partners.has(key)).map(({ layer, track }) => [layer, track.id]);
  }

  /** @param {number} number from 1 */
  selectNth(number) {
    const item = this.visibleTracks()[number - 1];
    if (item) this.select([item.layer, item.track.id], true);
  }

  /** @param {string | null} key */
  highlight(key) {
    if (key === this.highlighted) return;
    this.highlighted = key;
    this.tip.hidden = true;
    this.refresh();
  }

  /**
   * @param {Item[]} items under the pointer, the topmost first
   * @param {PointerEvent} event
   */
  onHover([top], event) {
    this.highlight(top ? top.key : null);
    if (!top) return;
    const box = this.region.getBoundingClientRect();
    this.tip.textContent = top.description;
    this.tip.hidden = false;
    const x = Math.min(event.clientX - box.left + 14, box.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${x}px, ${event.clientY - box.top + 16}px)`;
  }

  /**
   * Select the topmost mask, or the one below the selected one.
   * @param {Item[]} items under the pointer, the topmost first
   */
  onPick(items) {
    const index = items.findIndex((item) => item.key === this.selected);
    const next = items[(index + 1) % items.length];
    if (next) this.select([next.layer, next.track.id]);
    else if (this.selected) this.select(null);
    this.region.focus({ preventScroll: true });
  }

  // --- drawing

  /** Leave the masks of a track to an editor; null: draw all again. @param {TrackRef | null} ref */
  conceal(ref) {
    this.concealed = ref && keyOf(...ref);
    this.paint();
  }

  /**
   * @template {keyof MaskStyle} K
   * @param {K} name
   * @param {MaskStyle[K]} value
   */
  setStyle(name, value) {
    this.style[name] = value;
    this.controls.update();
    if (!this.view) return;
    if (name === "by") this.timeline.draw();
    this.paint();
    this.emitStyleLater();
  }

  paint() {
    if (!this.masks?.has(this.frame)) return;
    for (const pane of this.panes.list) {
      if (pane.canvas.width > 16) pane.painter.compose(this.itemsOf(pane), this.style, this.panes.zoom, this.panes.litBox(pane));
    }
    this.region.dataset.drawn = performance.now().toFixed(2);
  }

  /** Masks of the current frame, from the back to the front. @param {Pane} pane */
  itemsOf(pane) {
    const { view, masks } = this, { width, height } = pane.canvas;
    /** @type {Item[]} */
    const items = [];
    if (!view || !masks) return items;
    const { dims } = this.panes;
    for (const { key, layer: index, track } of this.visibleTracks()) {
      if (!pane.layers.includes(index) || key === this.concealed) continue;
      const layer = view.layers[index], shape = masks.shape(index, track.id, this.frame, width, height, this.panes.zoom);
      if (!shape) continue;
      const selected = key === this.selected || this.partners.has(key), wanted = selected || key === this.highlighted;
      const text = layer.truth ? `${track.id} ${track.label}` : `${track.id} ${track.label} ${track.score.toFixed(2)}`;
      items.push({
        key, layer: index, track, shape, text,
        description: `${text} · ${layer.name}`,
        labelled: (view.labels !== "pair" && !dims) || wanted,
        rgb: this.colourOf(track),
        dashed: !layer.truth,
        dimmed: dims && !wanted,
        highlighted: key === this.highlighted,
        selected,
      });
    }
    return paintOrder(items);
  }

  /** @param {Command | null} command */
  applyCommand(command) {
    if (!this.view || !command) return;
    this.command = command;
    if (command.focus) this.view.zoom = true; // before the picture is drawn: so that all of its pixels are kept
    const sought = Number.isInteger(command.seek) ? this.seek(Number(command.seek)) : null;
    if (typeof command.part === "number") this.seek(Math.floor(command.part * this.view.times.length));
    // Not sent back: Python has it already, and a late answer would undo what is selected in the meantime.
    if (command.select === null) this.selectTracks([]);
    else if (Array.isArray(command.select)) this.selectTracks([command.select]);
    const { pair } = command;
    if (!Array.isArray(pair)) return;
    const show = () => {
      if (this.command !== command) return;
      this.selectTracks(pair);
      if (command.focus || (command.reframe && this.panes.focused)) this.panes.setFocus(true);
      else if (sought) this.panes.frameTracks(pair);
    };
    if (sought) sought.then(show);
    else show();
  }
}
