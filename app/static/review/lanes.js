// Changes of whole tracks on the lanes: one lane dragged onto another, and a cut at the playhead. Each is confirmed.

import { createButton, createElement, targetOf } from "../player/dom.js";
import { rangeWords } from "./brush.js";
import { frameWords } from "./correction.js";

/** @import { Player } from "../player/player.js" */
/** @import { Change, FrameRange, Layer, Track } from "../player/types.js" */
/** @typedef {{ layer: Layer, track: Track }} Lane */
/** @typedef {{ title: string, lines: string[], action: string, choices?: [string, string][] }} Words */

const DRAG = 6; // CSS pixels from which a press is a drag

/**
 * The frames of a track.
 * @param {Track} track
 */
function framesOf({ seen }) {
  return new Set(seen.flatMap(([start, stop]) => Array.from({ length: stop - start }, (_, i) => start + i)));
}

/** @param {Track} track */
const nameOf = ({ id, label }) => `${id} (${label})`;

/**
 * What merging `other` into `track` does, in words; the choices are for frames where both have a mask.
 * @param {Track} track
 * @param {Track} other
 * @returns {Words}
 */
export function mergeWords(track, other) {
  const own = framesOf(track), moved = [...framesOf(other)].sort((a, b) => a - b), common = moved.filter((frame) => own.has(frame));
  const lines = [`The masks of track ${other.id} in ${frameWords(moved)} become masks of track ${track.id}; track ${other.id} ends.`];
  if (other.label !== track.label) lines.push(`The class stays ${track.label}.`);
  if (!common.length) lines.push("In no frame both have a mask.");
  const choices = /** @type {[string, string][]} */ ([["union", "both masks united"], ["track", `the mask of ${track.id}`], ["other", `the mask of ${other.id}`]]);
  if (common.length) lines.push(`Both have a mask in ${frameWords(common)}. There counts:`);
  return { title: `Merge track ${nameOf(other)} into track ${nameOf(track)}?`, lines, action: "Merge tracks", choices: common.length ? choices : undefined };
}

/**
 * @param {Track} track
 * @param {number} frame the first of the new track
 * @returns {Words | null} null where the track has no mask on one side
 */
export function cutWords(track, frame) {
  const frames = [...framesOf(track)].sort((a, b) => a - b), before = frames.filter((other) => other < frame), after = frames.filter((other) => other >= frame);
  if (!before.length || !after.length) return null;
  const lines = [`Its masks in ${frameWords(before)} stay track ${track.id}; those in ${frameWords(after)} become a new track.`];
  return { title: `Cut track ${nameOf(track)} at frame ${frame}?`, lines, action: "Cut track" };
}

/**
 * @param {Track} track
 * @param {Track} prediction
 * @param {FrameRange | null} range null: all frames
 * @returns {Words}
 */
export function takeWords(track, prediction, range) {
  const where = range ? rangeWords(range) : "all frames";
  const lines = [`In ${where} the masks of track ${track.id} become those of the prediction, also where that has none.`];
  return { title: `Take the masks of prediction ${nameOf(prediction)} for track ${nameOf(track)}?`, lines, action: `Take ${where}` };
}

export class LaneChanges {
  /**
   * @param {Player} player
   * @param {(change: Change) => void} save called once a change is confirmed
   * @param {(text: string) => void} say shows why something is not possible
   * @param {() => string} blocked why no track can be changed now; "" where it can
   */
  constructor(player, save, say, blocked) {
    this.player = player;
    this.save = save;
    this.say = say;
    this.blocked = blocked;
    player.timeline.body.addEventListener("pointerdown", (event) => this.onPress(event));
  }

  /** @param {string} key */
  lane(key) {
    const [index, id] = key.split(":").map(Number), layer = this.player.view?.layers[index];
    const track = layer?.tracks.find((other) => other.id === id);
    return layer && track ? { layer, track } : null;
  }

  /**
   * A press on a lane's name may become a drag onto another lane.
   * @param {PointerEvent} event
   */
  onPress(event) {
    const from = targetOf(event).closest(".lane-name")?.closest(".lane");
    if (event.button !== 0 || event.pointerType === "touch" || !(from instanceof HTMLElement)) return;
    const controller = new AbortController(), { signal } = controller;
    /** @type {HTMLElement | null} */
    let target = null;
    let dragged = false;
    /** @param {HTMLElement | null} lane */
    const mark = (lane) => {
      target?.classList.remove("drop");
      target = lane;
      target?.classList.add("drop");
    };
    addEventListener("pointermove", (move) => {
      dragged ||= Math.hypot(move.clientX - event.clientX, move.clientY - event.clientY) > DRAG;
      if (!dragged) return;
      from.classList.add("dragged");
      const under = document.elementFromPoint(move.clientX, move.clientY)?.closest(".lane");
      mark(under instanceof HTMLElement && under !== from && this.player.timeline.body.contains(under) ? under : null);
    }, { signal });
    const end = () => {
      controller.abort();
      from.classList.remove("dragged");
      const onto = target?.dataset.key;
      mark(null);
      return onto;
    };
    addEventListener("pointerup", () => {
      const onto = end();
      if (dragged && onto) this.drop(from.dataset.key ?? "", onto);
    }, { signal });
    addEventListener("pointercancel", end, { signal });
    addEventListener("keydown", (key) => key.key === "Escape" && end(), { signal });
  }

  /**
   * One lane was dropped on another: two labels are merged, a label takes the masks of a prediction.
   * @param {string} fromKey
   * @param {string} ontoKey
   */
  drop(fromKey, ontoKey) {
    const from = this.lane(fromKey), onto = this.lane(ontoKey);
    if (!from || !onto) return;
    if (!onto.layer.truth) this.say("A prediction cannot be changed: drop it on a label instead, or a label on a label.");
    else if (from.layer.truth) this.merge(onto.track, from.track);
    else this.take(onto.track, from.track);
  }

  /**
   * @param {Track} track
   * @param {Track} other
   */
  merge(track, other) {
    this.confirm(mergeWords(track, other), (overlap) => ({ do: "merge", track: track.id, other: other.id, overlap: overlap || "union" }));
  }

  /**
   * @param {Track} track
   * @param {Track} prediction
   */
  take(track, prediction) {
    const { range } = this.player, frames = range ? { first: range[0], last: range[1] } : {};
    this.confirm(takeWords(track, prediction, range), () => ({ do: "take", track: track.id, prediction: prediction.id, ...frames }));
  }

  /** Cut the selected label where the playhead is. */
  cut() {
    const { selected, target } = this.player, lane = selected ? this.lane(selected) : null;
    if (!lane) return this.say("Select a label's lane first: it is cut at the playhead.");
    if (!lane.layer.truth) return this.say("A prediction cannot be cut: select a label's lane.");
    const words = cutWords(lane.track, target);
    if (!words) return this.say(`Track ${nameOf(lane.track)} has no mask on one side of frame ${target}: there is nothing to cut.`);
    this.confirm(words, () => ({ do: "cut", track: lane.track.id, frame: target }));
  }

  /**
   * Show what a change does; it is saved once confirmed.
   * @param {Words} words
   * @param {(choice: string) => Change} change
   */
  confirm({ title, lines, action, choices }, change) {
    const reason = this.blocked();
    if (reason) return this.say(reason);
    const inputs = (choices ?? []).map(([value, label], place) => {
      const input = createElement("input", { type: "radio", name: "overlap", value, ...(place ? {} : { checked: "" }) });
      return { input, row: createElement("label", {}, input, label) };
    });
    const dialog = createElement("dialog", { class: "lane-dialog prompt", "aria-labelledby": "lane-dialog-title" });
    const ok = createButton(action, () => {
      const chosen = inputs.find(({ input }) => input.checked)?.input.value ?? "";
      dialog.close();
      this.save(change(chosen));
    }, { class: "primary" });
    dialog.append(createElement("h2", { id: "lane-dialog-title" }, title),
      ...lines.map((line) => createElement("p", {}, line)), ...inputs.map(({ row }) => row),
      createElement("p", { class: "hint" }, "One decision in the log; Undo takes it back."),
      createElement("div", { class: "prompt-buttons" }, createButton("Cancel", () => dialog.close()), ok));
    dialog.addEventListener("close", () => dialog.remove());
    document.querySelector("#review")?.append(dialog);
    dialog.showModal();
    ok.focus();
  }
}
