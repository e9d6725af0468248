// Buttons and keys of the player: every key has the effect of a button.

import { createButton, createElement, setPressed, targetOf } from "./dom.js";
import { formatTime } from "./times.js";

/** @import { Player } from "./player.js" */

const RATES = [0.1, 0.25, 0.5, 1, 1.5, 2, 4];
const ZOOM_IN = 0.625, ZOOM_OUT = 1.6;
const ICONS = {
  play: "M6 4l13 8-13 8z",
  pause: "M6 4h4v16H6zM14 4h4v16h-4z",
  back: "M18 5v14L8 12zM5 5h2v14H5z",
  next: "M6 5v14l10-7zM17 5h2v14h-2z",
  loop: "M17 2l4 4-4 4V7H7v4H5V5h12zM7 22l-4-4 4-4v3h10v-4h2v6H7z",
  clear: "M8 4H3v16h5v-2H5V6h3zM16 4h5v16h-5v-2h3V6h-3zM8.500 10l1.500-1.500 2 2 2-2 1.500 1.500-2 2 2 2-1.500 1.500-2-2-2 2-1.500-1.500 2-2z",
  sound: "M3 9v6h4l5 4V5L7 9zM15 8a5 5 0 010 8M17.500 5.500a9 9 0 010 13",
};
const KEYS = [
  ["space", "play or pause"], ["← →", "previous, next frame"], ["shift ← →", "ten frames"], ["home end", "first, last frame"],
  ["{ }", "previous, next frame where a track comes or goes"], ["1 – 9", "select a track"], ["esc", "select none"],
  ["m", "masks"], ["c", "contours"], ["l", "labels"], ["o", "loop"], ["+ − 0", "zoom the timeline, the whole of it"], ["?", "this list"],
];
const FLAGS = /** @type {const} */ (["masks", "contours", "labels"]);

export class Controls {
  /** @param {Player} player */
  constructor(player) {
    this.player = player;
    this.muted = false;
    this.play = iconButton("Play", icon("play"), () => player.toggle());
    this.time = createElement("span", { class: "player-time", "aria-live": "off" });
    this.rate = select("Speed", RATES.map((rate) => [String(rate), `${rate}×`]), (value) => player.setRate(Number(value)));
    this.rate.value = "1";
    this.loop = toggle("Loop", icon("loop"), () => player.setLoop(!player.loop));
    this.sound = toggle("Sound", icon("sound"), () => this.setMuted(!this.muted));
    this.flags = FLAGS.map((name) => {
      const label = name[0].toUpperCase() + name.slice(1);
      return /** @type {const} */ ([name, toggle(label, null, () => player.setStyle(name, !player.style[name]))]);
    });
    this.opacity = createElement("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "Opacity", title: "Opacity of the masks" });
    this.opacity.addEventListener("input", () => player.setStyle("opacity", Number(this.opacity.value) / 100));
    this.by = select("Colour by", ["track", "class", "score"].map((by) => [by, `by ${by}`]), (value) => player.setStyle("by", value));
    this.clear = iconButton("Clear range", icon("clear"), () => player.setRange(null));
    this.help = createHelp();
    this.bar = createElement("div", { class: "controls", role: "toolbar", "aria-label": "Player" },
      group(iconButton("Previous frame", icon("back"), () => player.step(-1)), this.play, iconButton("Next frame", icon("next"), () => player.step(1)), this.time),
      group(this.rate, this.loop, this.sound, this.clear),
      group(...this.flags.map(([, element]) => element), this.opacity, this.by));
    this.corner = createElement("div", { class: "lanes-corner" }, // beside the timeline's ruler
      iconButton("Zoom out", "−", () => player.ready && player.timeline.zoom(ZOOM_OUT)), iconButton("Zoom in", "+", () => player.ready && player.timeline.zoom(ZOOM_IN)),
      iconButton("Keys", "?", () => this.help.showModal()));
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** List the player's keys and more of them. @param {string[][]} more names of keys with blanks between them, and the effect */
  showKeys(more) {
    this.help.querySelector("dl")?.replaceWith(createKeyList([...KEYS, ...more]));
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    this.player.stream?.setMuted(muted);
    this.update();
  }

  /** Show the player's state. */
  update() {
    const { player } = this, { state } = player.region.dataset, playing = state === "playing", usable = state === "ready" || playing;
    if (this.play.getAttribute("aria-label") !== (playing ? "Pause" : "Play")) {
      setName(this.play, playing ? "Pause" : "Play");
      this.play.replaceChildren(icon(playing ? "pause" : "play"));
    }
    for (const part of [this.bar, this.corner]) {
      for (const element of /** @type {NodeListOf<HTMLButtonElement>} */ (part.querySelectorAll("button, input, select"))) {
        element.disabled = !usable && element.ariaLabel !== "Keys";
      }
    }
    setPressed(this.loop, player.loop);
    setPressed(this.sound, !this.muted);
    for (const [name, element] of this.flags) setPressed(element, player.style[name]);
    this.rate.value = String(player.rate);
    this.by.value = player.style.by;
    this.clear.hidden = !player.range;
    this.updateTime();
  }

  updateTime() {
    const { view, frame } = this.player;
    if (!view) return this.time.replaceChildren();
    const { times, first } = view, last = times.length - 1 + first;
    this.time.textContent = `${formatTime(times[frame] - times[0])}  frame ${frame + first} / ${last}`;
  }

  /**
   * Keys are active while the player is visible and nothing is being typed.
   * @param {KeyboardEvent} event
   */
  onKey(event) {
    const { player } = this, target = targetOf(event);
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !player.region.offsetParent || !player.ready) return;
    if (target.closest("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, [contenteditable=true], dialog[open]")) return;
    if (!player.region.contains(target) && target !== document.body && !target.matches("button, a, canvas, [role=tab]")) return;
    const presses = event.key === " " || event.key === "Enter";
    // A button that has just closed its dialog may still have the focus.
    if (presses && target.matches("button, select, a, [role=tab], summary") && target.checkVisibility()) return;
    if (/^(Arrow|Home|End)/.test(event.key) && target.matches("select, input, [role=tab]")) return;
    const action = this.keyAction(event.key, event.shiftKey ? 10 : 1);
    if (!action) return;
    event.preventDefault();
    action();
  }

  /**
   * @param {string} key
   * @param {number} step frames
   * @returns {(() => unknown) | null}
   */
  keyAction(key, step) {
    const { player } = this, { style, timeline } = player;
    if (/^[1-9]$/.test(key)) return () => player.selectNth(Number(key));
    switch (key) {
      case " ": return () => player.toggle();
      case "ArrowLeft": return () => player.step(-step);
      case "ArrowRight": return () => player.step(step);
      case "Home": return () => player.seek(0);
      case "End": return () => player.seek(player.lastFrame);
      case "[": case "{": return () => player.seekChange(-1);
      case "]": case "}": return () => player.seekChange(1);
      case "m": return () => player.setStyle("masks", !style.masks);
      case "c": return () => player.setStyle("contours", !style.contours);
      case "l": return () => player.setStyle("labels", !style.labels);
      case "o": return () => player.setLoop(!player.loop);
      case "+": return () => timeline.zoom(ZOOM_IN);
      case "-": return () => timeline.zoom(ZOOM_OUT);
      case "0": return () => timeline.showAll();
      case "Escape": return player.selected ? () => player.select(null) : null;
      case "?": return () => this.help.showModal();
      default: return null;
    }
  }
}

/**
 * Keys with what they do.
 * @param {string[][]} keys names of keys with blanks between them, and the effect
 */
export function createKeyList(keys) {
  return createElement("dl", {}, ...keys.map(([names, effect]) => {
    const boxes = names.split(" ").map((key) => createElement("kbd", {}, key));
    return createElement("div", {}, createElement("dt", {}, ...boxes), createElement("dd", {}, effect));
  }));
}

function createHelp() {
  const close = iconButton("Close", "Close", () => dialog.close());
  const dialog = createElement("dialog", { class: "player-help", "aria-label": "Keys of the player" },
    createElement("h2", {}, "Keys"), createKeyList(KEYS), close);
  return dialog;
}

/** @param {keyof typeof ICONS} name */
function icon(name) {
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: "18", height: "18", "aria-hidden": "true" })) image.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  path.setAttribute("fill", name === "sound" ? "none" : "currentColor");
  if (name === "sound") {
    path.setAttribute("stroke", "currentColor");
    path.setAttribute("stroke-width", "2");
  }
  image.append(path);
  return image;
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 */
function setName(element, name) {
  element.setAttribute("aria-label", name);
  element.title = name;
}

/**
 * @param {string} name
 * @param {Node | string} content
 * @param {() => unknown} onClick
 */
function iconButton(name, content, onClick) {
  return createButton(content, onClick, { class: "player-button", "aria-label": name, title: name });
}

/**
 * @param {string} name
 * @param {Node | null} image null: the name itself is shown
 * @param {() => unknown} onClick
 */
function toggle(name, image, onClick) {
  const button = iconButton(name, image ?? name, onClick);
  button.classList.add(image ? "icon-toggle" : "word-toggle");
  setPressed(button, false);
  return button;
}

/**
 * @param {string} name
 * @param {string[][]} options value and text of each
 * @param {(value: string) => void} onChange
 */
function select(name, options, onChange) {
  const element = createElement("select", { "aria-label": name, title: name }, ...options.map(([value, text]) => createElement("option", { value }, text)));
  element.addEventListener("change", () => onChange(element.value));
  return element;
}

/** @param {...HTMLElement} elements */
function group(...elements) {
  return createElement("div", { class: "control-group" }, ...elements);
}
