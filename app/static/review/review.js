// The question of the tab Review: answers by number, a note, save, undo. It sends decisions and shows what Python returns.

import { MaskEditor, rangeWords } from "./brush.js";
import { Correction, frameWords, isStored, storedFrames } from "./correction.js";
import { LaneChanges } from "./lanes.js";
import { Reviewer } from "./people.js";
import { createButton, createElement, findPlayerIn, setPressed, targetOf } from "../player/dom.js";
import { Propagation } from "./propagation.js";
import { ClickSegmenter } from "./segment.js";
import { keysFrom, readValue, writeValue } from "./storage.js";

/** @import { Player } from "../player/player.js" */
/** @import { Change, Choice, Draft, Emit, FrameRange, Question, StoredCorrection, TrackRef } from "../player/types.js" */
/** @typedef {HTMLElement & { prompt?: ReviewPrompt }} PromptHost */

const POLL = 4000; // milliseconds between checks for decisions of others
const TIMEOUT = 20000; // milliseconds after which a missing response no longer blocks the keys
const PLAYER_POLL = 50, PLAYER_POLLS = 600;
const MAX_NOTE = "4000"; // characters
const HINT = "1 to 9 choose · enter saves · n p next, previous · ctrl-z undo, ctrl-shift-z redo · x original or corrected labels · [ ] range · k cut the selected track at the playhead · wheel and drag, z zoom · / note · space and arrows as in the player · ? all keys";
const STEPS = [["Previous", "previous"], ["Next", "next"], ["Undo", "undo"], ["Redo", "redo"]];

/**
 * @param {PromptHost} host element to fill
 * @param {Emit} emit sends an event to Python
 */
export function mount(host, emit) {
  host.prompt = new ReviewPrompt(host, emit); // for the queue, and for tests
  return host.prompt;
}

/**
 * Rows of the queue and of disagreements: a click goes to the item, or keeps a decision; the current row stays visible.
 * @param {HTMLElement} element
 */
export function mountList(element) {
  element.addEventListener("click", (event) => {
    const row = targetOf(event).closest("[data-place]"), keep = targetOf(event).closest("[data-keep]");
    const prompt = /** @type {PromptHost | null} */ (document.querySelector("#review-prompt .prompt-host"))?.prompt;
    if (row instanceof HTMLElement) {
      prompt?.send({ kind: "go", place: Number(row.dataset.place) });
      document.querySelector("#review-player")?.scrollIntoView({ block: "nearest" });
    }
    if (keep instanceof HTMLElement) prompt?.send({ kind: "resolve", item: keep.dataset.keep });
  });
  new MutationObserver(() => {
    const list = element.querySelector(".queue"), row = element.querySelector('.queue [aria-pressed="true"]');
    if (!(list instanceof HTMLElement) || !(row instanceof HTMLElement)) return;
    list.scrollTop = row.offsetTop - list.offsetTop - list.clientHeight / 3;
  }).observe(element, { childList: true, subtree: true });
}

class ReviewPrompt {
  /**
   * @param {HTMLElement} host
   * @param {Emit} emit
   */
  constructor(host, emit) {
    this.emit = emit;
    /** @type {Question} */
    this.question = { turn: 0 };
    /** @type {Choice | null} */
    this.chosen = null;
    this.waiting = 0; // since when a response is pending, milliseconds; 0: none is
    /** @type {(() => void)[]} actions of keys pressed while waiting */
    this.pending = [];
    /** @type {string | null} the note as it was when the event was sent whose response is pending */
    this.sentNote = null;
    /** @type {string | null | undefined} the item that is being saved */
    this.saving = null;
    /** @type {MaskEditor | null} */
    this.editor = null;
    /** @type {WeakSet<Player>} */
    this.watched = new WeakSet();
    /** @type {Correction | null} of this question's track, once it was begun */
    this.correction = null;
    /** @type {LaneChanges | null} */
    this.lanes = null;

    this.place = createElement("p", { class: "hint prompt-where" });
    this.labels = createElement("div", { class: "prompt-labels", role: "group", "aria-label": "Labels in the player", hidden: "" });
    this.title = createElement("h2", { class: "prompt-question", "aria-live": "polite" }, "…");
    this.sides = createElement("dl", { class: "prompt-sides" });
    this.answers = createElement("div", { class: "prompt-answers", role: "radiogroup", "aria-label": "Answers" });
    this.more = createElement("div", { class: "prompt-more" });
    this.drafts = createElement("div", { class: "prompt-drafts", role: "group", "aria-label": "Unsaved corrections", hidden: "" });
    this.note = createElement("input", { type: "text", "aria-label": "Note", placeholder: "Note", maxlength: MAX_NOTE });
    this.reviewer = new Reviewer((name) => this.emit({ kind: "reviewer", reviewer: name }));
    this.status = createElement("p", { class: "prompt-status", role: "status" });
    this.save = createButton("Save decision", () => this.saveDecision(), { class: "primary" });
    const steps = STEPS.map(([label, kind]) => createButton(label, () => this.send({ kind })));
    this.body = createElement("div", { class: "prompt", "aria-label": "Review" }, this.place, this.labels, this.title, this.sides, this.answers, this.more, this.drafts, this.note,
      createElement("div", { class: "prompt-buttons" }, this.save, ...steps), this.status,
      this.reviewer.field, this.reviewer.part, createElement("p", { class: "hint prompt-keys" }, HINT));
    host.replaceChildren(this.body);
    this.updateButtons();

    document.addEventListener("keydown", (event) => this.onKey(event), true);
    // Enter saves; it must not also press the button that was clicked last.
    document.querySelector("#review")?.addEventListener("click", (event) => {
      if (event instanceof MouseEvent && event.detail) targetOf(event).closest("button")?.blur();
    });
    setInterval(() => this.poll(), POLL);
  }

  // --- display

  /**
   * Show a question from Python; an older one than the current is dropped.
   * @param {Question | null} question
   */
  show(question) {
    if (!question || question.turn <= this.question.turn) return;
    const same = question.item !== undefined && this.question.item === question.item && !question.moved;
    this.question = question;
    const { message } = question;
    if (question.people) this.reviewer.show(question.people);
    if (message?.kind === "saved" && this.saving) {
      writeValue(`review-mask:${this.saving}`, null);
      this.correction = null;
      this.editor?.close();
    }
    this.saving = null;
    if (this.editor) this.editor.locked = "";
    if (message?.text || question.item === undefined) {
      this.setStatus(message?.text ?? "", message?.kind ?? "");
      if (message?.kind === "error") this.pending = [];
    }
    if (question.moved !== false || message?.kind) this.waiting = 0;
    if (same) this.drawDecided(question);
    else this.draw(question);
    if (!this.waiting) this.sentNote = null;
    this.drawLabels(question);
    this.drawDrafts();
    this.updateButtons();
    while (this.pending.length && !this.waiting) this.pending.shift()?.();
  }

  /**
   * @param {string} text
   * @param {string} kind "error", "saved" or ""
   */
  setStatus(text, kind = "") {
    this.status.textContent = text;
    this.status.dataset.kind = kind;
  }

  /** @param {Question} question */
  draw(question) {
    this.chosen = null;
    this.editor?.close();
    this.correction = null;
    this.keepTyped();
    this.title.textContent = question.question ?? question.words ?? "";
    this.sides.replaceChildren(...(question.sides ?? []).flatMap(({ name, text }) => [createElement("dt", {}, name), createElement("dd", {}, text)]));
    this.answers.replaceChildren(...(question.answers ?? []).map(({ key, label }) => {
      const button = createButton(createElement("kbd", {}, key), () => this.choosePressed({ key }), { role: "radio", "aria-checked": "false", "data-key": key });
      button.append(` ${label}`);
      return button;
    }));
    this.more.replaceChildren(...this.createChanges(question));
    this.drawDecided(question);
    if (this.readDraft()) this.correctMask();
    this.watchPlayer(question);
    const { activeElement } = document;
    if (activeElement instanceof HTMLElement && activeElement.closest(".prompt-answers, .prompt-more")) activeElement.blur();
  }

  /** Of a note only what was typed since an event was sent stays, with the focus: it is for the question that comes. */
  keepTyped() {
    const { sentNote, note } = this;
    if (sentNote === null) note.value = "";
    else if (note.value.startsWith(sentNote)) note.value = note.value.slice(sentNote.length);
  }

  /** @param {Question} question */
  drawDecided({ place, of, where, decided }) {
    this.place.textContent = place ? `${place} of ${of} · ${where}` : "";
    for (const words of decided ?? []) this.place.append(createElement("span", { class: "prompt-decided" }, `✓ ${words}`));
  }

  /** Which labels the player shows, where decisions have changed some of this video. @param {Question} question */
  drawLabels({ labels, changes = 0 }) {
    this.labels.hidden = !changes;
    const buttons = ["original", "corrected"].map((name) => {
      const button = createButton(name, () => this.question.labels !== name && this.send({ kind: "labels" }));
      setPressed(button, name === labels);
      return button;
    });
    this.labels.replaceChildren(createElement("span", {}, `${changes} ${changes === 1 ? "change" : "changes"} in this video`), ...buttons);
  }

  /**
   * Changes that need more than a key: a mask, a class, a range of frames. isLabel: false where the question is about a
   * prediction that would be added.
   * @param {Question} question
   */
  createChanges({ classes = [], own, isLabel, takes, predictions = [] }) {
    if (!own) return [];
    const list = createElement("select", { "aria-label": isLabel ? "Change the class to" : "Add it as" }, createElement("option", { value: "" }, isLabel ? "change the class to …" : "add it as …"),
      ...classes.map(([id, name]) => createElement("option", { value: String(id) }, name)));
    list.addEventListener("change", () => {
      if (list.value) this.choosePressed({ extra: { do: "class", category: Number(list.value) }, label: list.selectedOptions[0].textContent ?? "" });
    });
    const mask = createButton("Correct the mask", () => this.onPressed(() => this.correctMask()),
      { title: "Draw on any frames of this track: they are saved together", "data-extra": "Correct the mask" });
    const label = [
      this.createChange("Crowd", "Mark as crowd: the metric ignores it", () => ({ do: "crowd" })),
      this.createChange("Split here", "From this frame on a track of its own", () => ({ do: "split", frame: findPlayer()?.frame })),
      this.createRangeChange("Delete", "delete frames"),
    ];
    const take = this.createRangeChange("Take the prediction in", "take frames");
    const tracks = [...(predictions.length ? [this.createTake(predictions, isLabel ? own[1] : null)] : []), ...(isLabel ? [this.createMerge(own)] : [])];
    return [mask, list, ...(isLabel ? label : []), ...(takes || !isLabel ? [take] : []), ...tracks];
  }

  /**
   * Take the masks of any prediction that overlaps the track, in the selected range or whole.
   * @param {[number, string][]} predictions
   * @param {number | null} track the label, null: the question is about a prediction, which becomes one
   */
  createTake(predictions, track) {
    const list = createElement("select", { "aria-label": "Take the masks of", title: "In the frames that are selected on the lanes, else in all" },
      createElement("option", { value: "" }), ...predictions.map(([place, words]) => createElement("option", { value: String(place) }, words)));
    list.addEventListener("change", () => {
      const range = findPlayer()?.range;
      if (!list.value) return;
      const frames = range ? { first: range[0], last: range[1] } : {};
      const label = `take the masks of prediction ${list.value}, ${range ? rangeWords(range) : "all frames"}`;
      this.choosePressed({ extra: { do: "take", ...(track === null ? {} : { track }), prediction: Number(list.value), ...frames }, label });
      list.value = "";
    });
    return list;
  }

  /**
   * Merge another label into the question's: as dropping its lane on this one.
   * @param {TrackRef} own
   */
  createMerge([layer, id]) {
    const list = createElement("select", { "aria-label": "Merge with", title: "Also: drag a lane by its name onto another" }, createElement("option", { value: "" }, "merge with …"));
    list.addEventListener("pointerdown", fill);
    list.addEventListener("focus", fill);
    function fill() {
      const others = findPlayer()?.view?.layers[layer]?.tracks.filter((track) => track.id !== id) ?? [];
      if (list.options.length === 1) list.append(...others.map((track) => createElement("option", { value: String(track.id) }, `${track.id} ${track.label}`)));
    }
    list.addEventListener("change", () => {
      const tracks = findPlayer()?.view?.layers[layer]?.tracks ?? [], own = tracks.find((track) => track.id === id);
      const other = tracks.find((track) => String(track.id) === list.value);
      list.value = "";
      if (own && other) this.lanes?.merge(own, other);
    });
    return list;
  }

  /**
   * @param {string} label
   * @param {string} title
   * @param {() => Change | null} create
   */
  createChange(label, title, create) {
    return createButton(label, () => {
      const extra = create();
      if (extra) this.choosePressed({ extra, label });
    }, { title, "data-extra": label });
  }

  /**
   * A change of the range that is selected on the lanes, else of the frame shown; its label says which.
   * @param {string} verb
   * @param {string} kind
   */
  createRangeChange(verb, kind) {
    const button = this.createChange(verb, "The frames that are selected on the lanes by dragging or with [ and ], else the frame shown", () => rangeChange(kind));
    button.dataset.rangeVerb = verb;
    button.textContent = `${verb} ${shownRange()}`;
    return button;
  }

  /**
   * Keep the range's words up to date.
   * @param {Question} question
   */
  async watchPlayer(question) {
    const player = await this.waitForPlayer(question);
    if (!player) return;
    if (!this.watched.has(player)) {
      this.watched.add(player);
      const blocked = () => (this.editor?.opened ? "Save or close the correction first." : "");
      this.lanes = new LaneChanges(player, (change) => this.saveTracks(change), (text) => this.setStatus(text, "error"), blocked);
      player.region.addEventListener("range", () => this.updateRange());
      new MutationObserver(() => this.updateRange()).observe(player.region, { attributeFilter: ["data-frame"] });
    }
    this.updateRange();
  }

  /** The range's actions say which range they are for. */
  updateRange() {
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (this.more.querySelectorAll("[data-range-verb]"))) {
      button.textContent = `${button.dataset.rangeVerb} ${shownRange()}`;
    }
    const range = findPlayer()?.range, first = this.more.querySelector('[aria-label="Take the masks of"] option');
    if (first) first.textContent = `take the masks (${range ? rangeWords(range) : "all frames"}) of …`;
  }

  updateButtons() {
    const usable = this.question.item !== undefined;
    this.save.disabled = !usable || !this.chosen || Boolean(this.waiting);
    const buttons = this.body.querySelectorAll(".prompt-buttons button:not(.primary), .prompt-answers button");
    for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (buttons)) button.disabled = !usable;
  }

  // --- correcting a mask

  /**
   * An unsaved correction of this question's masks, from before a reload.
   * @returns {StoredCorrection | null}
   */
  readDraft() {
    const draft = readDraft(this.question.item ?? "");
    return isStored(draft, this.question.size) ? draft : null;
  }

  /** Corrections of other questions about these labels that were not saved. */
  drawDrafts() {
    const { item = "" } = this.question, labels = `${item.split(":")[0]}:`;
    const others = keysFrom(`review-mask:${labels}`).map((rest) => labels + rest).filter((other) => other !== item);
    const rows = others.flatMap((other) => {
      const draft = readDraft(other), frames = draft ? storedFrames(draft) : [];
      if (!frames.length) return [];
      const discard = () => {
        writeValue(`review-mask:${other}`, null);
        this.drawDrafts();
      };
      return [createElement("p", {}, createElement("span", {}, `Not saved: ${draft?.words ?? "a correction"} (${frameWords(frames)})`),
        createButton("Open", () => this.send({ kind: "go", item: other })), createButton("Discard", discard))];
    });
    this.drafts.replaceChildren(...rows);
    this.drafts.hidden = !rows.length;
  }

  /** Open the editor on the current frame, or on the first frame of a draft. */
  async correctMask() {
    const { question } = this, { item, own, taken, size } = question, draft = this.readDraft();
    const player = await this.waitForPlayer(question);
    if (!player?.view || this.question.item !== item || !size || !own) return;
    const editor = this.createEditor(player), restored = !this.correction && draft;
    this.correction ??= this.createCorrection(player, draft);
    const { click, from } = this.correction.pending, at = click?.frame ?? (restored ? from ?? storedFrames(restored)[0] : player.frame);
    if (at !== player.frame) await player.seek(at);
    if (this.question.item !== item) return;
    editor.open(this.correction, own, taken ?? null);
    if (restored && !click && from === undefined) editor.say("This correction was not saved: it is continued.");
  }

  /**
   * The editor of this player; controllers of other modules are created with it.
   * @param {Player} player
   */
  createEditor(player) {
    if (this.editor?.player !== player) {
      this.editor = new MaskEditor(player);
      new Propagation(this.editor);
      new ClickSegmenter(this.editor);
    }
    return this.editor;
  }

  /**
   * @param {Player} player
   * @param {StoredCorrection | null} draft
   */
  createCorrection(player, draft) {
    const { size, own } = this.question, [layer, id] = own ?? [0, 0];
    const correction = new Correction(size ?? [0, 0], player.lastFrame + 1, (frame) => player.masks?.text(layer, id, frame) ?? "");
    if (draft) {
      correction.restore(draft);
      if (correction.edits.size) this.chooseMasks(correction.toDraft());
    }
    correction.listen(() => this.onCorrected(correction));
    return correction;
  }

  /**
   * The player, once it shows this question's video; null where another question comes first.
   * @param {Question} question
   * @returns {Promise<Player | null>}
   */
  async waitForPlayer({ item, token }) {
    for (let polls = 0; polls < PLAYER_POLLS && this.question.item === item; polls++) {
      const player = findPlayer();
      if (player) {
        const { state, frame } = player.region.dataset;
        if (player.view?.token === token && state === "ready" && frame !== undefined) return player;
      }
      await new Promise((resolve) => setTimeout(resolve, PLAYER_POLL));
    }
    return null;
  }

  /**
   * Kept in the browser after every stroke, so that nothing is lost with the page or the server.
   * @param {Correction} correction
   */
  onCorrected(correction) {
    if (correction !== this.correction) return;
    const { item, question, where } = this.question, words = `${question ?? ""} ${where ?? ""}`.trim(), key = `review-mask:${item}`;
    const stored = writeValue(key, correction.isEmpty ? null : JSON.stringify({ ...correction.toStored(), words }));
    if (correction.edits.size) this.chooseMasks(correction.toDraft());
    else if (this.chosen?.extra?.do === "masks") this.choose(null);
    if (!stored) this.status.textContent = "this browser keeps nothing: a reload loses this correction unless it is saved";
  }

  /** @param {Draft} extra */
  chooseMasks(extra) {
    this.choose({ extra, label: "Correct the mask" });
  }

  // --- actions

  /** @param {Choice | null} choice */
  choose(choice) {
    this.chosen = choice;
    for (const button of this.answers.querySelectorAll("button")) button.setAttribute("aria-checked", String(button.dataset.key === choice?.key));
    for (const button of this.more.querySelectorAll("button")) setPressed(button, button.dataset.extra === choice?.label);
    this.setStatus(choice?.extra ? `chosen: ${describe(choice.extra, choice.label ?? "")}` : "");
    this.updateButtons();
  }

  /** A choice by pointer. @param {Choice} choice */
  choosePressed(choice) {
    this.onPressed(() => this.choose(choice));
  }

  /**
   * What a pointer begins on the question. While a response is pending it waits, as keys do, since showing a question
   * removes its choice and closes its correction; it is dropped where the response brings another question.
   * @param {() => unknown} action
   */
  onPressed(action) {
    const { item } = this.question;
    const act = () => this.question.item === item && action();
    if (this.waiting) this.pending.push(act);
    else act();
  }

  saveDecision() {
    if (this.waiting) return;
    if (!this.chosen) {
      this.status.textContent = "Choose an answer first: its number is its key.";
      return;
    }
    if (!this.knowsReviewer()) return;
    this.setStatus("saving …");
    this.saving = this.question.item;
    if (this.editor) this.editor.locked = "The decision is being saved.";
    this.send({ kind: "save", item: this.question.item, note: this.note.value, ...this.chosen });
  }

  /** Whether the reviewer is known; else the field for the name is shown first. */
  knowsReviewer() {
    if (this.reviewer.name) return true;
    this.setStatus("Enter your name first: every decision carries it.", "error");
    this.reviewer.control.focus();
    return false;
  }

  /**
   * A change of tracks that was confirmed: it is saved at once, the question stays.
   * @param {Change} extra
   */
  saveTracks(extra) {
    if (!this.knowsReviewer()) return;
    this.setStatus("saving …");
    this.send({ kind: "save", item: this.question.item, note: this.note.value, extra });
  }

  /**
   * Send an event to Python, once the response to the one before has arrived.
   * @param {Record<string, unknown>} event
   */
  send(event) {
    if (this.waiting) {
      this.pending.push(() => this.send(event));
      return;
    }
    this.waiting = performance.now();
    this.sentNote = this.note.value;
    if (document.activeElement === this.note) this.note.blur();
    this.updateButtons();
    this.emit({ reviewer: this.reviewer.name, ...event });
  }

  /** Request decisions of others; give up on a response that does not arrive. */
  poll() {
    if (this.waiting && performance.now() - this.waiting > TIMEOUT) {
      this.waiting = 0;
      this.setStatus("no answer from the studio: what is on its way may not be saved", "error");
      this.updateButtons();
    }
    if (!this.waiting && this.question.item !== undefined && this.body.offsetParent && document.visibilityState === "visible") this.emit({ kind: "look" });
  }

  // --- keys

  /**
   * Before the player, which also uses numbers. Keys pressed while waiting act once the response has arrived.
   * @param {KeyboardEvent} event
   */
  onKey(event) {
    if (!this.body.offsetParent || document.querySelector("dialog[open]") || this.question.item === undefined) return;
    const action = this.editor?.keyAction(event) ?? this.keyAction(event, targetOf(event));
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (this.waiting && action !== this.focusNote) this.pending.push(action);
    else action();
  }

  focusNote = () => this.note.focus();

  /**
   * @param {KeyboardEvent} event
   * @param {HTMLElement | SVGElement} target
   * @returns {(() => void) | null}
   */
  keyAction(event, target) {
    const modified = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    const typing = target.matches("textarea, select, input:not([type=range]):not([type=checkbox]):not([type=radio])");
    if (modified && !event.altKey && (!typing || (target === this.note && !this.note.value))) {
      if (key === "z") return () => this.send({ kind: event.shiftKey ? "redo" : "undo" });
      if (key === "y") return () => this.send({ kind: "redo" });
    }
    if (modified || event.altKey) return null;
    if (key === "escape" && (target === this.note || target === this.reviewer.input)) return () => target.blur();
    if (key === "enter" && (target === this.note || !(typing || pressesOnEnter(target)))) return () => this.saveDecision();
    if (typing) return null;
    if (/^[1-9]$/.test(key)) return () => this.hasAnswer(key) && this.choose({ key });
    switch (key) {
      case "n": return () => this.send({ kind: "next" });
      case "p": return () => this.send({ kind: "previous" });
      case "x": return () => this.send({ kind: "labels" });
      case "/": return this.focusNote;
      case "z": return () => findPlayer()?.panes.toggleZoom();
      case "k": return () => this.lanes?.cut();
      case "[": return () => findPlayer()?.setRangeEnd(0);
      case "]": return () => findPlayer()?.setRangeEnd(1);
      default: return null;
    }
  }

  /** @param {string} key */
  hasAnswer(key) {
    return this.question.answers?.some((answer) => answer.key === key) ?? false;
  }
}

/** Whether Enter presses the focused element, and that is no answer. @param {Element} target */
function pressesOnEnter(target) {
  return target.matches("button:not([aria-selected=true]), a, summary, [role=option]") && !target.closest(".prompt-answers, .prompt-more");
}

/** @returns {Player | null} */
function findPlayer() {
  return findPlayerIn("#review-player");
}

/**
 * The range that is selected in the player, else its current frame; null without a video.
 * @returns {FrameRange | null}
 */
function selectedRange() {
  const player = findPlayer();
  return player?.ready ? player.range ?? [player.target, player.target] : null;
}

function shownRange() {
  const range = selectedRange();
  return range ? rangeWords(range) : "frames";
}

/**
 * @param {string} kind
 * @returns {Change | null}
 */
function rangeChange(kind) {
  const range = selectedRange();
  return range && { do: kind, first: range[0], last: range[1] };
}

/**
 * What this browser holds of an unsaved correction.
 * @param {string} item name of its question
 * @returns {StoredCorrection | null}
 */
function readDraft(item) {
  try {
    return JSON.parse(readValue(`review-mask:${item}`) ?? "null");
  } catch {
    return null;
  }
}

/**
 * @param {Change} change
 * @param {string} label
 */
function describe(change, label) {
  if (change.do === "take") return label;
  if (change.do === "class") return `change the class to ${label}`;
  if (change.masks) return `${label}, ${frameWords(Object.keys(change.masks).map(Number))}`;
  if (change.first !== undefined) return `${change.do}, ${change.first} to ${change.last}`;
  return change.frame === undefined ? label : `${label}, frame ${change.frame}`;
}
