// The data that Python sends (app/player/component.py, app/tabs/review/page_state.py), and what modules share.

export type Rgb = readonly number[];
export type SizeHW = readonly [height: number, width: number];
export type Point = [x: number, y: number];
/** Indices of frames, both included. */
export type FrameRange = [first: number, last: number];
/** A track of a view: the index of its layer, and its id there. */
export type TrackRef = [layer: number, id: number];

export interface Track {
  id: number;
  category: number;
  label: string;
  score: number;
  /** [start, stop) intervals of frames where it is present. */
  seen: [number, number][];
  rgb?: Rgb;
  marks?: { frame: number; kind: "switch" | "fragment" }[];
}

export interface Layer {
  name: string;
  /** Whether it is ground truth. */
  truth: boolean;
  tracks: Track[];
}

export interface PaneData {
  name: string;
  /** Indices of layers. */
  layers: number[];
}

export interface View {
  token: string;
  version: number;
  name: string;
  /** Pixels of the video; masks have this size. */
  width: number;
  height: number;
  /** The upper left part of a picture that is displayed, pixels of the picture. */
  shown: SizeHW;
  /** Width to height of a pixel. */
  aspect: number;
  /** Index of the view's first frame in the whole video. */
  first: number;
  /** Presentation times, seconds, strictly increasing. */
  times: number[];
  /** When the last frame ends, seconds. */
  end: number;
  /** The name of the file that the browser plays, null where there are only pictures. */
  video: string | null;
  /** Frames whose masks are fetched together. */
  chunk: number;
  palette: Rgb[];
  layers: Layer[];
  layout: "side" | "stacked" | "swipe";
  panes: PaneData[];
  /** The frame to begin with. */
  at?: number;
  /** The tracks to select. */
  pair?: TrackRef[];
  /** "pair": only selected tracks, and the one under the pointer, are labelled. */
  labels?: "all" | "pair";
  /** The range of frames that is selected at first. */
  range?: FrameRange | null;
  /** Whether the selected tracks are framed and everything else is dimmed, at first. */
  focus?: boolean;
  /** More keys for the list of keys: names with blanks between them, and the effect. */
  keys?: [string, string][];
  /** Whether the wheel enlarges the picture; the selected tracks are framed at first. */
  zoom?: boolean;
}

/** For each layer: track id -> COCO's compressed run lengths for each frame of a chunk, null where it is absent. */
export type MaskTexts = Record<string, (string | null)[]>[];

/** A mask as it is drawn on a canvas. */
export interface Shape {
  x: number;
  y: number;
  w: number;
  h: number;
  /** w * h bytes, row by row. */
  bits: Uint8Array;
  /** Pairs of canvas positions, inside and outside of each step along the outline; -1 beyond the canvas. */
  edge: Int32Array;
}

/** A mask with everything that is drawn of it. */
export interface Item {
  key: string;
  layer: number;
  track: Track;
  shape: Shape;
  text: string;
  description: string;
  labelled: boolean;
  rgb: Rgb;
  dashed: boolean;
  /** Whether it is drawn faintly, beside the selected ones. */
  dimmed: boolean;
  highlighted: boolean;
  selected: boolean;
}

export interface MaskStyle {
  masks: boolean;
  contours: boolean;
  labels: boolean;
  opacity: number;
  by: string;
}

/** For each layer the ids of tracks that a filter keeps, null for all; null for no filter. */
export type TrackFilter = (number[] | null)[] | null;

/** What Python requests of the player. */
export interface Command {
  seek?: number;
  /** Of the whole duration, 0 to 1. */
  part?: number;
  select?: TrackRef | null;
  pair?: TrackRef[];
  /** Frame the pair, once the frame is shown, and dim everything else. */
  focus?: boolean;
  /** Frame the pair where the pair before was framed. */
  reframe?: boolean;
}

/** The bar above the player of Compare, as app/tabs/compare/events.py describes it. */
export interface ErrorSteps {
  /** Of the shown error, from 0; null where the list does not have it. */
  place: number | null;
  of: number;
  /** Whether the matches are there, which come last. */
  complete: boolean;
  previous: boolean;
  next: boolean;
  type: string;
  classes: string;
  /** CSS colour of the type. */
  colour: string;
}

export type Emit = (event: Record<string, unknown>) => void;

/** A picture source: draws each picture together with its own frame index. */
export interface FrameStream {
  /** Resolves once `frame` was drawn, or a later seek has replaced this one. */
  seek(frame: number): Promise<void>;
  /** Draws frame after frame until `pause` or the end. */
  play(rate: number, onEnd: () => void): Promise<void>;
  pause(): void;
  setMuted(muted: boolean): void;
  close(): void;
}
export type DrawFrame = (picture: CanvasImageSource, frame: number) => void;

/** A parameter of a model, as app/tabs/segment/parameters.py describes it. */
export interface ParameterField {
  name: string;
  kind: "flag" | "whole" | "number" | "choice" | "text";
  choices: string[];
  help: string;
  placeholder: string;
}

export interface ParameterForm {
  model: string;
  fields: ParameterField[];
  values: Record<string, string | boolean>;
  /** Why there are no fields. */
  problem: string;
}

/** The question that the tab Review shows. */
export interface Question {
  turn: number;
  item?: string;
  place?: number;
  of?: number;
  question?: string;
  words?: string;
  where?: string;
  sides?: { name: string; text: string }[];
  answers?: { key: string; label: string }[];
  decided?: string[];
  token?: string;
  size?: SizeHW;
  isLabel?: boolean;
  takes?: boolean;
  classes?: [number, string][];
  labels?: string;
  changes?: number;
  /** The track whose mask a correction begins with, and the prediction that it may take instead. */
  own?: TrackRef | null;
  taken?: TrackRef | null;
  /** Place and description of predictions that overlap `own`. */
  predictions?: [number, string][];
  people?: People;
  /** The response to the event before. */
  message?: { kind?: string; text?: string };
  moved?: boolean;
}

/** Who may review. */
export interface People {
  /** The page's reviewer as Python last heard. */
  reviewer: string;
  /** The name of the sign-in, "" without one. */
  signed: string;
  /** Who may review; empty: everybody. */
  names: string[];
  /** The reviewer's part of a shared queue, in words. */
  part: string;
}

/** A change of labels that needs more than the key of an answer. */
export interface Change {
  do: string;
  /** A label as the player numbers it, and the one that is merged into it. */
  track?: number;
  other?: number;
  overlap?: string;
  /** Place of the prediction whose masks are taken. */
  prediction?: number;
  category?: number;
  frame?: number;
  first?: number;
  last?: number;
  size?: SizeHW;
  masks?: Record<string, string>;
}

/** Corrected masks: frame -> COCO's compressed run lengths. words: the question, for offering it again. */
export interface Draft extends Change {
  do: "masks";
  size: SizeHW;
  masks: Record<string, string>;
  words?: string;
}
/** A mask that was computed from clicks or a box, COCO's compressed run lengths. */
export interface ClickProposal {
  frame: number;
  text: string;
  points: [x: number, y: number, on: boolean][];
  box: [x1: number, y1: number, x2: number, y2: number] | null;
}
/** What is under way in a correction: a clicked mask that is not accepted; a running propagation's range, and the frame shown at its start. */
export interface Pending {
  click?: ClickProposal;
  range?: FrameRange;
  from?: number;
}
/** A correction as the browser keeps it. proposals: frame -> mask and confidence, 0 to 1. */
export interface StoredCorrection extends Draft {
  proposals?: Record<string, { text: string; confidence: number }>;
  pending?: Pending;
}
/** The chosen answer: by its key, or a change. */
export interface Choice {
  key?: string;
  extra?: Change;
  label?: string;
}
