// The question of the tab Review: answers by number, a note, save, undo. It sends what is done and shows what comes back.

import { Brush } from "./brush.js";
import { make } from "./dom.js";

const LOOK = 4000; // milliseconds between looks at what others have decided
const WAIT = 20000; // milliseconds after which an answer that never came does not hold the keys any more
const KEYS = "1–9, 0 choose · enter saves · n p next, previous · ctrl-z undo, ctrl-shift-z redo · x original or corrected labels · / note · space and arrows as in the player";

/** host: element to fill. send(said): to Python. */
export function mount(host, send) {
  host.ask = new Ask(host, send); // for the queue, and for whoever looks into the page
  return host.ask;
}

class Ask {
  constructor(host, tell) {
    this.tell = tell;
    this.turn = 0;
    this.value = null;
    this.chosen = null; // {key} or {extra, label}
    this.waiting = 0; // since when an answer is on its way
    this.keys = []; // pressed meanwhile
    this.brush = null;
    this.build(host);
    document.addEventListener("keydown", (event) => this.key(event), true);
    // Enter saves; it must not press once more what the mouse has pressed last.
    document.querySelector("#review").addEventListener("click", (event) => event.detail && event.target.closest("button")?.blur());
    setInterval(() => this.look(), LOOK);
  }

  build(host) {
    this.where = make("p", { class: "hint ask-where" });
    this.labels = make("div", { class: "ask-labels", role: "group", "aria-label": "Labels in the player", hidden: "" });
    this.question = make("h2", { class: "ask-question", "aria-live": "polite" }, "…");
    this.sides = make("dl", { class: "ask-sides" });
    this.answers = make("div", { class: "ask-answers", role: "radiogroup", "aria-label": "Answers" });
    this.more = make("div", { class: "ask-more" });
    this.note = make("input", { type: "text", "aria-label": "Note", placeholder: "Note", maxlength: "4000" });
    this.reviewer = make("input", { type: "text", "aria-label": "Reviewer", maxlength: "60", value: name() });
    this.reviewer.addEventListener("change", () => keep("review-reviewer", this.reviewer.value.trim()));
    this.said = make("p", { class: "ask-said", role: "status" });
    this.save = button("Save decision", () => this.store(), "primary");
    const steps = [["Previous", "previous"], ["Next", "next"], ["Undo", "undo"], ["Redo", "redo"]].map(([label, kind]) => button(label, () => this.send({ kind })));
    this.body = make("div", { class: "ask", "aria-label": "Review" }, this.where, this.labels, this.question, this.sides, this.answers, this.more, this.note,
      make("div", { class: "ask-buttons" }, this.save, ...steps), this.said,
      make("label", { class: "ask-who" }, make("span", {}, "Reviewer"), this.reviewer), make("p", { class: "hint ask-keys" }, KEYS));
    host.replaceChildren(this.body);
    this.enable();
  }

  // --- what comes from Python

  show(value) {
    if (!value || value.turn <= this.turn) return;
    const same = value.item !== undefined && this.value?.item === value.item && !value.moved;
    this.turn = value.turn;
    this.value = value;
    if (value.said?.kind === "saved" && this.saving) keep(`review-mask:${this.saving}`, null);
    this.saving = null;
    this.tellSaid(value);
    if (value.moved !== false || value.said?.kind) this.waiting = 0;
    if (!same) this.draw(value);
    else this.drawDecided(value);
    this.drawLabels(value);
    this.enable();
    this.replay();
  }

  tellSaid({ said, item }) {
    if (!said?.text && item !== undefined) return;
    this.said.textContent = said?.text ?? "";
    this.said.dataset.kind = said?.kind ?? "";
    if (said?.kind === "error") this.keys = [];
  }

  draw(value) {
    this.chosen = null;
    this.brush?.close(false);
    this.note.value = "";
    this.question.textContent = value.question ?? value.words ?? "";
    this.sides.replaceChildren(...(value.sides ?? []).flatMap(({ name, text }) => [make("dt", {}, name), make("dd", {}, text)]));
    this.answers.replaceChildren(...(value.answers ?? []).map((answer) => this.answer(answer)));
    this.more.replaceChildren(...this.others(value));
    this.drawDecided(value);
    if (this.draft()) this.correct();
    if (document.activeElement?.closest?.(".ask-answers, .ask-more") || document.activeElement === this.note) document.activeElement.blur();
  }

  drawDecided({ place, of, where, decided }) {
    this.where.textContent = place ? `${place} of ${of} · ${where}` : "";
    for (const words of decided ?? []) this.where.append(make("span", { class: "ask-decided" }, `✓ ${words}`));
  }

  /** Which labels the player shows, where decisions have changed some of this video. */
  drawLabels({ labels, changes }) {
    this.labels.hidden = !changes;
    this.labels.replaceChildren(make("span", {}, `${changes} ${changes === 1 ? "change" : "changes"} in this video`), ...["original", "corrected"].map((name) => {
      const made = button(name, () => this.value.labels !== name && this.send({ kind: "labels" }));
      made.setAttribute("aria-pressed", String(name === labels));
      return made;
    }));
  }

  answer({ key, label }) {
    const made = make("button", { type: "button", role: "radio", "aria-checked": "false", "data-key": key }, make("kbd", {}, key), ` ${label}`);
    made.addEventListener("click", () => this.choose({ key }));
    return made;
  }

  /** Answers that need more than a key: a class, a range of frames. Of a prediction that is no label yet: how it is added. */
  others({ classes, own, isLabel, takes }) {
    if (!own) return [];
    const list = make("select", { "aria-label": isLabel ? "Change the class to" : "Add it as" }, make("option", { value: "" }, isLabel ? "change the class to …" : "add it as …"),
      ...classes.map(([id, name]) => make("option", { value: String(id) }, name)));
    list.addEventListener("change", () => list.value && this.choose({ extra: { do: "class", category: Number(list.value) }, label: list.selectedOptions[0].textContent }));
    const labelled = [["Crowd", "Mark as crowd: the metric ignores it", () => ({ do: "crowd" })],
      ["Split here", "From this frame on a track of its own", () => ({ do: "split", frame: this.player()?.frame })],
      ["Delete range", "Delete the frames of the range that is chosen on the player's ruler", () => this.range("delete frames")]];
    const range = [["Take range", "Take the prediction in the range that is chosen on the player's ruler", () => this.range("take frames")]];
    const acts = [...(isLabel ? labelled : []), ...(takes || !isLabel ? range : [])];
    const correct = button("Correct the mask", () => this.correct());
    correct.title = "Brush, polygon and fill on the frame that is shown";
    correct.dataset.extra = "Correct the mask";
    return [correct, list, ...acts.map(([label, title, made]) => this.other(label, title, made))];
  }

  other(label, title, make_) {
    const made = button(label, () => {
      const extra = make_();
      if (extra) this.choose({ extra, label });
    });
    made.title = title;
    made.dataset.extra = label;
    return made;
  }

  range(what) {
    const player = this.player(), range = player?.range ?? (player?.ready ? [player.frame, player.frame] : null);
    return range && { do: what, first: range[0], last: range[1] };
  }

  player() {
    return findPlayer();
  }

  // --- a mask by hand

  /** A correction of this question's mask that was begun and not saved, here or before a reload. */
  draft() {
    try {
      const found = JSON.parse(kept(`review-mask:${this.value.item}`));
      return found && found.do === "mask" && String(found.size) === String(this.value.size) ? found : null;
    } catch {
      return null;
    }
  }

  /** Open the brush on the frame that is shown, or on the one that a draft is of. */
  async correct() {
    const { value } = this, draft = this.draft(), { own, taken, size } = value;
    const player = await this.opened(value);
    if (!player || this.value.item !== value.item) return;
    if (draft) this.propose(draft);
    const frame = draft?.frame ?? player.frame;
    await player.seek(frame);
    const text = ([l, id]) => player.masks.of(frame)?.layers?.[l]?.[id]?.[frame % player.show.chunk] ?? "";
    if (this.brush?.player !== player) this.brush = new Brush(player, { change: (counts) => this.corrected(counts), close: () => {} });
    this.brush.open({ frame, size, counts: draft?.counts ?? text(own), predicted: taken ? text(taken) : "" });
  }

  /** The player, when it shows this question's video. */
  async opened(value) {
    for (let tries = 0; tries < 600 && this.value.item === value.item; tries++) {
      const player = this.player(), { state, frame } = player?.region.dataset ?? {};
      if (player?.show?.token === value.token && state === "ready" && frame !== undefined) return player;
      await new Promise((done) => setTimeout(done, 50));
    }
    return null;
  }

  corrected(counts) {
    const { size, item } = this.value, extra = { do: "mask", frame: this.brush.frame, size, counts };
    const safe = keep(`review-mask:${item}`, JSON.stringify(extra));
    this.propose(extra);
    if (!safe) this.said.textContent = "this browser keeps nothing: a reload loses this correction unless it is saved";
  }

  propose(extra) {
    this.choose({ extra, label: "Correct the mask" });
  }

  // --- what people do

  choose(chosen) {
    this.chosen = chosen;
    for (const it of this.answers.children) it.setAttribute("aria-checked", String(it.dataset.key === chosen?.key));
    for (const it of this.more.querySelectorAll("button")) it.setAttribute("aria-pressed", String(it.dataset.extra === chosen?.label));
    this.said.textContent = chosen?.extra ? `chosen: ${describe(chosen.extra, chosen.label)}` : "";
    this.said.dataset.kind = "";
    this.enable();
  }

  store() {
    if (this.waiting) return;
    if (!this.chosen) {
      this.said.textContent = "Choose an answer first: its number is its key.";
      return;
    }
    this.said.textContent = "saving …";
    this.said.dataset.kind = "";
    this.saving = this.value.item;
    this.send({ kind: "save", item: this.value.item, note: this.note.value, ...this.chosen });
  }

  send(said) {
    if (this.waiting) return void this.keys.push(said);
    this.waiting = performance.now();
    this.enable();
    this.tell({ reviewer: this.reviewer.value.trim(), ...said });
  }

  /** Others may have decided something. */
  look() {
    if (this.waiting && performance.now() - this.waiting > WAIT) {
      this.waiting = 0;
      this.said.textContent = "no answer from the studio: what is on its way may not be saved";
      this.said.dataset.kind = "error";
      this.enable();
    }
    if (!this.waiting && this.value?.item !== undefined && this.body.offsetParent && document.visibilityState === "visible") this.tell({ kind: "look" });
  }

  enable() {
    const usable = this.value?.item !== undefined;
    this.save.disabled = !usable || !this.chosen || Boolean(this.waiting);
    for (const it of this.body.querySelectorAll(".ask-buttons button:not(.primary), .ask-answers button")) it.disabled = !usable;
  }

  // --- keys

  /** Before the player, which has numbers of its own. What is typed while an answer is on its way waits for it. */
  key(event) {
    if (!this.body.offsetParent || document.querySelector("dialog[open]") || this.value?.item === undefined) return;
    const { target } = event, act = this.brush?.keyed(event) ?? this.action(event, target);
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (this.waiting) this.keys.push(act);
    else act();
  }

  action(event, target) {
    const held = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    const writing = target.matches?.("textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio])");
    if (held && !event.altKey && (!writing || (target === this.note && !this.note.value))) {
      if (key === "z") return () => this.send({ kind: event.shiftKey ? "redo" : "undo" });
      if (key === "y") return () => this.send({ kind: "redo" });
    }
    if (held || event.altKey) return null;
    if (key === "escape" && (target === this.note || target === this.reviewer)) return () => target.blur();
    if (key === "enter" && (target === this.note || !(writing || this.presses(target)))) return () => this.store();
    if (writing) return null;
    const button = /^[0-9]$/.test(key) && this.value.answers.find((it) => it.key === key);
    if (button) return () => this.has(key) && this.choose({ key });
    if (/^[0-9]$/.test(key)) return () => {};
    return { n: () => this.send({ kind: "next" }), p: () => this.send({ kind: "previous" }), x: () => this.send({ kind: "labels" }), "/": () => this.note.focus() }[key] ?? null;
  }

  has(key) {
    return this.value.answers?.some((it) => it.key === key);
  }

  /** Whether Enter presses what has the focus, and that is no answer. */
  presses(target) {
    return target.matches?.("button:not([aria-selected=true]), a, summary, [role=option]") && !target.closest(".ask-answers, .ask-more");
  }

  replay() {
    while (this.keys.length && !this.waiting) {
      const next = this.keys.shift();
      if (typeof next === "function") next();
      else this.send(next);
    }
  }
}

function findPlayer() {
  for (const it of document.querySelectorAll("#review-player, #review-player *")) if (it.player) return it.player;
  return null;
}

function describe(extra, label) {
  if (extra.do === "class") return `change the class to ${label}`;
  if (extra.first !== undefined) return `${extra.do}, ${extra.first} to ${extra.last}`;
  return extra.frame === undefined ? label : `${label}, frame ${extra.frame}`;
}

/** Who reviews, as this browser knows them; a name of its own so that two browsers are two reviewers. */
function name() {
  const known = kept("review-reviewer");
  if (known) return known;
  const made = `reviewer ${Math.random().toString(36).slice(2, 6)}`;
  keep("review-reviewer", made);
  return made;
}

export function kept(key) {
  try {
    return localStorage.getItem(`tevit:${key}`);
  } catch {
    return null; // a browser that keeps nothing
  }
}

export function keep(key, text) {
  try {
    if (text === null) localStorage.removeItem(`tevit:${key}`);
    else localStorage.setItem(`tevit:${key}`, text);
    return true;
  } catch {
    return false;
  }
}

function button(label, act, style = "") {
  const made = make("button", { type: "button", class: style }, label);
  made.addEventListener("click", act);
  return made;
}
