// The correction of one track: masks for any number of frames, saved together as one decision. No DOM.
//
// edits: masks that will be saved. proposals: masks computed by the studio, drawn but not saved until they are accepted.
// pending: a clicked mask that is not accepted, and the range of a propagation that runs.
// Everything but `propose`, `reject` and `setPending` is one step of undo, however many frames it changes.

/** @import { Draft, Pending, SizeHW, StoredCorrection } from "../player/types.js" */
/** @typedef {{ text: string, confidence: number }} Proposal confidence: 0 to 1 */
/** @typedef {{ edit?: string, proposal?: Proposal }} FrameState */

const MAX_STEPS = 300;

export class Correction {
  /**
   * @param {SizeHW} size pixels
   * @param {number} length frames of the video
   * @param {(frame: number) => string} base the track's own mask as COCO's compressed run lengths, "" where it is absent
   */
  constructor(size, length, base) {
    this.size = size;
    this.length = length;
    this.base = base;
    /** @type {Map<number, string>} */
    this.edits = new Map();
    /** @type {Map<number, Proposal>} */
    this.proposals = new Map();
    /** @type {Pending} */
    this.pending = {};
    /** @type {Map<number, FrameState>[]} the frames' states before each step */
    this.past = [];
    /** @type {Map<number, FrameState>[]} the same for steps that were undone */
    this.future = [];
    /** @type {Set<() => void>} */
    this.listeners = new Set();
  }

  /** The edited frames, in order. */
  get frames() {
    return [...this.edits.keys()].sort((a, b) => a - b);
  }

  /**
   * The mask of a frame: its edit, else its proposal, else the track's own.
   * @param {number} frame
   */
  mask(frame) {
    return this.edits.get(frame) ?? this.proposals.get(frame)?.text ?? this.base(frame);
  }

  /**
   * Call a function after every change.
   * @param {() => void} listener
   */
  listen(listener) {
    this.listeners.add(listener);
  }

  notify() {
    for (const listener of this.listeners) listener();
  }

  // --- edits

  /**
   * @param {number} frame
   * @param {string} text COCO's compressed run lengths
   */
  setMask(frame, text) {
    this.setMasks(new Map([[frame, text]]));
  }

  /** @param {ReadonlyMap<number, string>} masks one for each frame to edit */
  setMasks(masks) {
    this.step(masks.keys(), (frame) => ({ edit: masks.get(frame) }));
  }

  /**
   * Give frames the track's own masks again.
   * @param {Iterable<number>} frames
   */
  revert(frames) {
    this.step([...frames].filter((frame) => this.edits.has(frame) || this.proposals.has(frame)), () => ({}));
  }

  /**
   * @param {Iterable<number>} frames
   * @param {(frame: number) => FrameState} next
   */
  step(frames, next) {
    const before = this.replace([...frames].filter((frame) => frame >= 0 && frame < this.length), next);
    if (!before.size) return;
    this.past.push(before);
    if (this.past.length > MAX_STEPS) this.past.shift();
    this.future = [];
    this.notify();
  }

  /**
   * Replace the states of frames; returns those before.
   * @param {Iterable<number>} frames
   * @param {(frame: number) => FrameState} next
   */
  replace(frames, next) {
    /** @type {Map<number, FrameState>} */
    const before = new Map();
    for (const frame of frames) {
      before.set(frame, { edit: this.edits.get(frame), proposal: this.proposals.get(frame) });
      const { edit, proposal } = next(frame);
      if (edit === undefined) this.edits.delete(frame);
      else this.edits.set(frame, edit);
      if (proposal === undefined) this.proposals.delete(frame);
      else this.proposals.set(frame, proposal);
    }
    return before;
  }

  /** Undo the last step; returns a frame that it has changed, null where there is none. */
  undo() {
    return this.swap(this.past, this.future);
  }

  redo() {
    return this.swap(this.future, this.past);
  }

  /**
   * @param {Map<number, FrameState>[]} from
   * @param {Map<number, FrameState>[]} to
   */
  swap(from, to) {
    const step = from.pop();
    if (!step) return null;
    to.push(this.replace(step.keys(), (frame) => step.get(frame) ?? {}));
    this.notify();
    return Math.min(...step.keys());
  }

  // --- proposals

  /**
   * Show computed masks; edited frames stay as they are.
   * @param {ReadonlyMap<number, Proposal>} proposals by frame
   */
  propose(proposals) {
    for (const [frame, proposal] of proposals) {
      if (!this.edits.has(frame) && frame >= 0 && frame < this.length) this.proposals.set(frame, proposal);
    }
    this.notify();
  }

  /** @param {Pending} pending what changes; undefined: it is not under way any more */
  setPending(pending) {
    const changed = Object.entries(pending).some(([name, value]) => value !== this.pending[/** @type {keyof Pending} */ (name)]);
    Object.assign(this.pending, pending);
    if (changed) this.notify();
  }

  /**
   * Turn the proposals of a range into edits; returns how many.
   * @param {number} first
   * @param {number} last
   */
  accept(first, last) {
    const frames = this.proposed(first, last);
    this.step(frames, (frame) => ({ edit: this.proposals.get(frame)?.text }));
    return frames.length;
  }

  /**
   * Drop the proposals of a range; returns how many.
   * @param {number} first
   * @param {number} last
   */
  reject(first, last) {
    const frames = this.proposed(first, last);
    for (const frame of frames) this.proposals.delete(frame);
    if (frames.length) this.notify();
    return frames.length;
  }

  /**
   * @param {number} first
   * @param {number} last
   */
  proposed(first, last) {
    return [...this.proposals.keys()].filter((frame) => first <= frame && frame <= last).sort((a, b) => a - b);
  }

  // --- drafts

  /** @returns {Draft} what is saved with the decision */
  toDraft() {
    return { do: "masks", size: this.size, masks: Object.fromEntries(this.edits) };
  }

  /** Whether there is nothing to keep. */
  get isEmpty() {
    return !this.edits.size && !this.proposals.size && !this.pending.click && this.pending.from === undefined;
  }

  /** @returns {StoredCorrection} what the browser keeps until the decision is saved */
  toStored() {
    return { ...this.toDraft(), proposals: Object.fromEntries(this.proposals), pending: this.pending };
  }

  /** Continue a stored correction; its edits cannot be undone. @param {StoredCorrection} stored */
  restore({ masks, proposals = {}, pending = {} }) {
    this.edits = new Map(Object.entries(masks).map(([frame, text]) => [Number(frame), text]));
    this.proposals = new Map(Object.entries(proposals).map(([frame, proposal]) => [Number(frame), proposal]));
    this.pending = pending;
    this.notify();
  }
}

/**
 * Whether a value read from the browser's storage is a correction of masks of this size.
 * @param {unknown} value
 * @param {SizeHW | undefined} size
 * @returns {value is StoredCorrection}
 */
export function isStored(value, size) {
  const { do: kind, size: own, masks } = /** @type {Partial<StoredCorrection>} */ (value ?? {});
  return kind === "masks" && String(own) === String(size) && typeof masks === "object" && masks !== null && storedFrames(/** @type {StoredCorrection} */ (value)).length > 0;
}

/**
 * The frames of a stored correction, in order: edited, proposed, clicked, or from where a propagation ran.
 * @param {StoredCorrection} stored
 */
export function storedFrames({ masks, proposals = {}, pending = {} }) {
  const under = [...(pending.click ? [pending.click.frame] : []), ...(pending.from === undefined ? [] : [pending.from])];
  return [...new Set([...Object.keys(masks), ...Object.keys(proposals), ...under].map(Number))].sort((a, b) => a - b);
}

/**
 * Frames in words: "frame 4", "frames 4, 7 and 9 to 12".
 * @param {number[]} frames in order
 */
export function frameWords(frames) {
  /** @type {[number, number][]} */
  const runs = [];
  for (const frame of frames) {
    const run = runs.at(-1);
    if (run && run[1] === frame - 1) run[1] = frame;
    else runs.push([frame, frame]);
  }
  const words = runs.map(([first, last]) => (first === last ? `${first}` : last === first + 1 ? `${first}, ${last}` : `${first} to ${last}`));
  const list = words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words.at(-1)}` : words.join("");
  return `${frames.length === 1 ? "frame" : "frames"} ${list}`;
}
