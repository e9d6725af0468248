// What is used of plotly.js, and what the page shares.

import type { newestAnswer } from "./answers.js";

export interface Figure {
  data: object[];
  layout: { font?: object; xaxis: object; yaxis: object; dragmode?: string | false };
}

export interface PlotPoint {
  x: number;
  y: number;
  customdata?: { row?: string; filter?: object };
}
export interface ClickEvent {
  points: PlotPoint[];
}
export interface SelectEvent extends ClickEvent {
  range?: { x?: number[]; y?: number[] };
}

export interface PlotElement extends HTMLDivElement {
  /** The theme and figure that are drawn. */
  content?: string;
  layout: { meta: { filter?: object; brush?: string } };
  _fullLayout?: object;
  on(type: "plotly_click", listener: (event: ClickEvent) => void): void;
  on(type: "plotly_selected", listener: (event: SelectEvent | undefined) => void): void;
}

export interface Plotly {
  react(plot: PlotElement, data: object[], layout: object, config: object): Promise<unknown>;
  Plots: { resize(plot: PlotElement): void };
  Fx: { hover(plot: PlotElement, points: object[]): void; unhover(plot: PlotElement): void };
}

declare global {
  interface Window {
    Plotly?: Plotly;
    tevitPlotly?: Promise<Plotly>;
    /** For gradio's templates, which cannot import modules. */
    tevitErrors?: { newestAnswer: typeof newestAnswer };
    gradio_config?: { root?: string };
  }
}
