// Propagation of a correction over a range of frames: buttons and keys of the mask editor, progress, cancel, and the
// masks that the studio computes as proposals, which are accepted or rejected by frame, by range or as a whole.

import { createButton } from "../player/dom.js";
import { decodeCounts } from "../player/rle.js";
import { frameWords } from "./correction.js";
import { rangeWords } from "./brush.js";

/** @import { MaskEditor } from "./brush.js" */
/** @import { FrameRange } from "../player/types.js" */
/** @typedef {{ frame: number, counts: string, confidence: number }} ComputedMask counts: COCO's compressed run lengths */
/** @typedef {{ stage?: string, done?: number, total?: number | null, ahead?: number, masks?: ComputedMask[], error?: string }} Line */

export class Propagation {
  /** @param {MaskEditor} editor */
  constructor(editor) {
    this.editor = editor;
    /** @type {AbortController | null} of the request that is under way */
    this.request = null;
    this.start = editor.createAction("Propagate", "g", () => this.propagate());
    this.stop = createButton("Cancel propagation", () => this.cancel());
    this.accept = editor.createAction("Accept", "a", () => this.acceptAll());
    this.reject = editor.createAction("Reject", "r", () => this.rejectAll());
    this.acceptFrame = editor.createAction("Accept this frame", "A", () => this.correction.accept(editor.frame, editor.frame));
    this.rejectFrame = editor.createAction("Reject this frame", "R", () => this.correction.reject(editor.frame, editor.frame));
    editor.actions.append(this.start, this.stop, this.accept, this.acceptFrame, this.reject, this.rejectFrame);
    editor.onRange(() => this.update());
    editor.onFrame(() => this.update());
    editor.onOpen(() => this.onOpen());
  }

  get correction() {
    return this.editor.correction;
  }

  onOpen() {
    this.cancel();
    const { range } = this.correction.pending;
    this.correction.listen(this.onChange);
    this.update();
    if (!range) return;
    this.correction.setPending({ range: undefined, from: undefined });
    this.editor.setRange(...range);
    this.editor.say(`A propagation to ${rangeWords(range)} was not finished: g starts it again.`);
  }

  onChange = () => this.update();

  /** Buttons show what they would do. */
  update() {
    const { correction, editor } = this, range = targetRange(this.keys(), correction.length, editor.player.range), proposed = this.proposals();
    this.start.textContent = range ? `Propagate to ${rangeWords(range)}` : "Propagate";
    this.start.disabled = Boolean(this.request);
    this.stop.hidden = !this.request;
    for (const [button, word] of /** @type {[HTMLButtonElement, string][]} */ ([[this.accept, "Accept"], [this.reject, "Reject"]])) {
      button.hidden = !proposed.length;
      button.textContent = `${word} ${frameWords(proposed)}`;
    }
    this.acceptFrame.hidden = this.rejectFrame.hidden = proposed.length < 2 || !correction.proposals.has(editor.frame);
  }

  /** What is propagated: the edited frames; without one the mask of the frame that is shown, where it has one. */
  keys() {
    const { correction, editor: { frame, previewed } } = this, { edits } = correction, text = previewed === null ? correction.mask(frame) : "";
    if (edits.size || !decodeCounts(text).some((count, i) => i % 2 && count)) return edits;
    return new Map([[frame, text]]);
  }

  /** Frames with a proposal: those of the selected range where it has some, else all. */
  proposals() {
    const { correction, editor: { player: { range } } } = this, all = correction.proposed(0, correction.length - 1);
    const inside = range ? correction.proposed(...range) : [];
    return inside.length ? inside : all;
  }

  acceptAll() {
    const frames = this.proposals();
    if (!frames.length) return this.editor.say("There is no proposal to accept: g propagates the corrected masks.");
    this.correction.accept(frames[0], /** @type {number} */ (frames.at(-1)));
    this.editor.say(`Accepted: ${frameWords(frames)}. Enter saves them with the decision.`);
  }

  rejectAll() {
    const frames = this.proposals();
    if (!frames.length) return this.editor.say("There is no proposal to reject.");
    this.correction.reject(frames[0], /** @type {number} */ (frames.at(-1)));
    this.editor.say(`Rejected: ${frameWords(frames)} as before the propagation.`);
  }

  cancel() {
    this.request?.abort();
    this.request = null;
    this.update();
  }

  /** Compute the masks of the range from the corrected frames. */
  async propagate() {
    const { correction, editor } = this, { player } = editor, keys = this.keys(), range = targetRange(keys, correction.length, player.range);
    if (this.request) return editor.say("A propagation is under way: cancel it first.");
    if (!range) return editor.say("This frame has no mask: draw one first, it is propagated to the others.");
    const request = (this.request = new AbortController());
    correction.setPending({ range, from: editor.frame });
    this.update();
    editor.say(`Propagating to ${rangeWords(range)} …`);
    const body = { size: correction.size, masks: Object.fromEntries(keys), first: range[0], last: range[1], prediction: editor.taken };
    let masks = null, failure = "";
    try {
      masks = await fetchMasks(`${player.root}/studio/review/${player.view?.token}/propagate`, body, request.signal, (line) => {
        if (this.request === request) editor.say(progressWords(line));
      });
    } catch (error) {
      failure = request.signal.aborted ? "Propagation was cancelled." : error instanceof Error ? error.message : String(error);
    }
    if (this.request === request) this.request = null;
    if (masks || request.signal.aborted) correction.setPending({ range: undefined, from: undefined });
    if (masks) correction.propose(new Map(masks.map(({ frame, counts, confidence }) => [frame, { text: counts, confidence }])));
    if (correction === this.correction && editor.opened) {
      editor.say(masks ? resultWords(masks, range, keys) : failure, masks || request.signal.aborted ? "" : "error");
    }
    this.update();
  }
}

/**
 * Where a propagation goes: to the selected range; without one to all frames between the outer key frames, or from a
 * single one to the whole video. Null without a key frame.
 * @param {ReadonlyMap<number, string>} keys
 * @param {number} length frames of the video
 * @param {FrameRange | null} selected
 * @returns {FrameRange | null}
 */
export function targetRange(keys, length, selected) {
  if (!keys.size) return null;
  if (selected && selected[0] < selected[1]) return selected;
  return keys.size > 1 ? [Math.min(...keys.keys()), Math.max(...keys.keys())] : [0, length - 1];
}

/** @param {Line} line */
export function progressWords({ stage, done = 0, total, ahead }) {
  if (ahead) return `Waiting for ${ahead} ${ahead === 1 ? "request" : "requests"} of others …`;
  return stage ? `${stage}: ${done}${total ? ` of ${total}` : ""} frames` : "Propagating …";
}

/**
 * @param {ComputedMask[]} masks
 * @param {FrameRange} range
 * @param {ReadonlyMap<number, string>} keys
 */
export function resultWords(masks, [first, last], keys) {
  const frames = masks.map(({ frame }) => frame), reached = new Set(frames), missing = [];
  for (let frame = first; frame <= last; frame++) if (!reached.has(frame) && !keys.has(frame)) missing.push(frame);
  const left = missing.length ? ` ${frameWords(missing).replace(/^f/, "F")} left out: the confidence is too low there.` : "";
  const added = frames.filter((frame) => !keys.has(frame));
  if (!added.length) return `Nothing was proposed.${left}`;
  const lowest = masks.reduce((low, mask) => (mask.confidence < low.confidence ? mask : low));
  return `Proposed: ${frameWords(added)}, least sure in frame ${lowest.frame} (${lowest.confidence.toFixed(2)}).${left} a accepts, r rejects.`;
}

/**
 * The masks that a request of the studio computes. Rejects with its sentence where there are none.
 * @param {string} url
 * @param {object} body
 * @param {AbortSignal} signal
 * @param {(line: Line) => void} onLine called for each line of progress
 * @returns {Promise<ComputedMask[]>}
 */
async function fetchMasks(url, body, signal, onLine) {
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal });
  if (!response.ok || !response.body) throw new Error(await response.text());
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read(), lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop() ?? "";
    for (const text of lines) {
      /** @type {Line} */
      const line = JSON.parse(text);
      if (line.error) throw new Error(line.error);
      if (line.masks) return line.masks;
      onLine(line);
    }
    if (done) throw new Error("The studio closed the connection before the masks were complete: try again.");
  }
}
