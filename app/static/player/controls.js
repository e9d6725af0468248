// Buttons and keys of the player: every key means what a button means.

import { make } from "./dom.js";

const RATES = [0.1, 0.25, 0.5, 1, 1.5, 2, 4];
const ICONS = {
  play: "M6 4l13 8-13 8z",
  pause: "M6 4h4v16H6zM14 4h4v16h-4z",
  back: "M18 5v14L8 12zM5 5h2v14H5z",
  next: "M6 5v14l10-7zM17 5h2v14h-2z",
  loop: "M17 2l4 4-4 4V7H7v4H5V5h12zM7 22l-4-4 4-4v3h10v-4h2v6H7z",
  sound: "M3 9v6h4l5 4V5L7 9zM15 8a5 5 0 010 8M17.500 5.500a9 9 0 010 13",
};
const KEYS = [
  ["space", "play or pause"], ["← →", "previous, next frame"], ["shift ← →", "ten frames"], ["home end", "first, last frame"],
  ["[ ]", "previous, next frame where a track comes or goes"], ["1 – 9", "select a track"], ["esc", "select none"],
  ["m", "masks"], ["c", "contours"], ["l", "labels"], ["o", "loop"], ["+ − 0", "zoom the timeline, the whole of it"], ["?", "this list"],
];

export class Controls {
  constructor(player) {
    this.player = player;
    this.muted = false;
    this.play = button("Play", icon("play"), () => player.toggle());
    this.time = make("span", { class: "player-time", "aria-live": "off" });
    this.rate = select("Speed", RATES.map((rate) => [rate, `${rate}×`]), (value) => player.setRate(Number(value)));
    this.rate.value = "1";
    this.loop = toggle("Loop", icon("loop"), () => player.setLoop(!player.loop));
    this.sound = toggle("Sound", icon("sound"), () => this.mute(!this.muted));
    this.looks = ["masks", "contours", "labels"].map((name) => [name, toggle(name[0].toUpperCase() + name.slice(1), null, () => player.set(name, !player.look[name]))]);
    this.opacity = make("input", { type: "range", min: "0", max: "100", value: "50", "aria-label": "Opacity", title: "Opacity of the masks" });
    this.opacity.addEventListener("input", () => player.set("opacity", this.opacity.value / 100));
    this.by = select("Colour by", ["track", "class", "score"].map((it) => [it, `by ${it}`]), (value) => player.set("by", value));
    this.clear = button("Clear range", "Clear range", () => player.choose());
    this.help = this.dialog();
    this.bar = make("div", { class: "controls", role: "toolbar", "aria-label": "Player" },
      group(button("Previous frame", icon("back"), () => player.step(-1)), this.play, button("Next frame", icon("next"), () => player.step(1)), this.time),
      group(this.rate, this.loop, this.sound, this.clear),
      group(...this.looks.map(([, element]) => element), this.opacity, this.by),
      group(button("Zoom out", "−", () => player.ready && player.lanes.zoom(1.6)), button("Zoom in", "+", () => player.ready && player.lanes.zoom(0.625)),
        button("Keys", "?", () => this.help.showModal())));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  dialog() {
    const rows = KEYS.map(([keys, what]) => make("div", {}, make("dt", {}, ...keys.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, what)));
    const close = button("Close", "Close", () => this.help.close());
    return make("dialog", { class: "player-help", "aria-label": "Keys of the player" }, make("h2", {}, "Keys"), make("dl", {}, ...rows), close);
  }

  mute(flag) {
    this.muted = flag;
    this.player.source?.muted(flag);
    this.update();
  }

  /** How everything stands. */
  update() {
    const { player } = this, { state } = player.region?.dataset ?? {}, usable = state === "ready" || state === "playing";
    const playing = state === "playing";
    if (this.play.getAttribute("aria-label") !== (playing ? "Pause" : "Play")) {
      name(this.play, playing ? "Pause" : "Play");
      this.play.replaceChildren(icon(playing ? "pause" : "play"));
    }
    for (const element of this.bar.querySelectorAll("button, input, select")) element.disabled = !usable && element.ariaLabel !== "Keys";
    press(this.loop, player.loop);
    press(this.sound, !this.muted);
    for (const [what, element] of this.looks) press(element, player.look[what]);
    this.rate.value = String(player.rate);
    this.by.value = player.look.by;
    this.clear.hidden = !player.range;
    this.moved();
  }

  moved() {
    const { player } = this;
    if (!player.ready) return this.time.replaceChildren();
    const { times, first } = player.show, last = times.length - 1 + first;
    this.time.textContent = `${clock(times[player.frame] - times[0])}  frame ${player.frame + first} / ${last}`;
  }

  /** Keys count while the player is seen and nobody writes. */
  key(event) {
    const { player } = this, { target } = event;
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !player.region.offsetParent || !player.ready) return;
    if (target.closest?.("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, [contenteditable=true], dialog[open]")) return;
    const own = player.region.contains(target);
    if (!own && target !== document.body && !target.matches?.("button, a, canvas, [role=tab]")) return;
    const pressed = event.key === " " || event.key === "Enter";
    // A button that has just closed its dialog may still have the focus.
    if (pressed && target.matches?.("button, select, a, [role=tab], summary") && target.checkVisibility()) return;
    if (/^(Arrow|Home|End)/.test(event.key) && target.matches?.("select, input, [role=tab]")) return;
    const act = this.action(event.key, event.shiftKey ? 10 : 1);
    if (!act) return;
    event.preventDefault();
    act();
  }

  action(key, step) {
    const { player } = this, last = player.show.times.length - 1;
    if (/^[1-9]$/.test(key)) return () => player.selectNth(Number(key));
    return {
      " ": () => player.toggle(),
      ArrowLeft: () => player.step(-step),
      ArrowRight: () => player.step(step),
      Home: () => player.seek(0),
      End: () => player.seek(last),
      "[": () => player.change(-1),
      "]": () => player.change(1),
      m: () => player.set("masks", !player.look.masks),
      c: () => player.set("contours", !player.look.contours),
      l: () => player.set("labels", !player.look.labels),
      o: () => player.setLoop(!player.loop),
      "+": () => player.lanes.zoom(0.625),
      "-": () => player.lanes.zoom(1.6),
      0: () => player.lanes.fit(),
      Escape: player.selected ? () => player.select(null, null) : null,
      "?": () => this.help.showModal(),
    }[key];
  }
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

function icon(which) {
  const image = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(image.namespaceURI, "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", width: "18", height: "18", "aria-hidden": "true" })) image.setAttribute(key, value);
  path.setAttribute("d", ICONS[which]);
  path.setAttribute("fill", which === "sound" ? "none" : "currentColor");
  if (which === "sound") path.setAttribute("stroke", "currentColor"), path.setAttribute("stroke-width", "2");
  image.append(path);
  return image;
}

function name(element, text) {
  element.setAttribute("aria-label", text);
  element.title = text;
}

function button(label, content, act) {
  const made = make("button", { type: "button", class: "player-button" }, content);
  name(made, label);
  made.addEventListener("click", act);
  return made;
}

function toggle(label, content, act) {
  const made = button(label, content ?? label, act);
  made.classList.add(content ? "icon-toggle" : "word-toggle");
  press(made, false);
  return made;
}

function press(element, on) {
  element.setAttribute("aria-pressed", String(on));
}

function select(label, options, act) {
  const made = make("select", { "aria-label": label, title: label }, ...options.map(([value, text]) => make("option", { value }, text)));
  made.addEventListener("change", () => act(made.value));
  return made;
}

function group(...elements) {
  return make("div", { class: "control-group" }, ...elements);
}
