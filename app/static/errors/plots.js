// The plots of the tab Errors, drawn by plotly.js from figures in the page. It is loaded once, for the first figure.

import { targetOf } from "../player/dom.js";

/** @import { Emit } from "../player/types.js" */
/** @import { ClickEvent, Figure, PlotElement, Plotly, SelectEvent } from "./types.js" */

// The zoom buttons are named one by one: none of them sends data anywhere.
const ZOOM_BUTTONS = ["zoomIn2d", "zoomOut2d", "resetScale2d"];
/** @type {Map<string, string[]>} */
const SELECT_BUTTONS = new Map([["lengths", ["select2d", "lasso2d"]], ["scores", ["select2d"]]]);

/**
 * @param {string} root address of the studio
 * @returns {Promise<Plotly>}
 */
function loadPlotly(root) {
  window.tevitPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => resolve(/** @type {Plotly} */ (window.Plotly));
    script.onerror = () => {
      window.tevitPlotly = undefined;
      script.remove();
      reject(new Error(script.src));
    };
    script.src = `${root}/studio/errors/plotly.min.js`;
    document.head.append(script);
  });
  return window.tevitPlotly;
}

/** The plots of one part of the tab. */
export class Plots {
  /**
   * @param {HTMLElement} element
   * @param {string} root
   * @param {Emit} emit
   */
  constructor(element, root, emit) {
    this.element = element;
    this.root = root;
    this.emit = emit;
    /** @type {Map<string, PlotElement>} the drawn plot of each chart, which outlives the elements that Python replaces */
    this.plots = new Map();
    new MutationObserver(() => this.redraw()).observe(document.body, { attributeFilter: ["class"] });
    // A focused button of a plot shows its point as the mouse does.
    element.addEventListener("focusin", (event) => {
      const { plot, point } = this.pointOf(event);
      if (plot && point) window.Plotly?.Fx.hover(plot, [point]);
    });
    element.addEventListener("focusout", (event) => {
      const { plot } = this.pointOf(event);
      if (plot) window.Plotly?.Fx.unhover(plot);
    });
  }

  redraw() {
    this.draw().catch((error) => console.warn("plots cannot be drawn", error));
  }

  async draw() {
    const places = /** @type {HTMLElement[]} */ ([...this.element.querySelectorAll("[data-plot]")]);
    if (!places.length) return;
    const plotly = await loadPlotly(this.root);
    const dark = document.body.classList.contains("dark");
    for (const place of places) {
      const name = chartOf(place), source = place.dataset.plot ?? "";
      if (!place.isConnected) continue;
      const known = this.plots.get(name), plot = known ?? this.create(name);
      // Gradio keeps elements, sets their attributes and removes children that it has not created.
      if (plot.parentElement !== place) place.replaceChildren(plot);
      const content = `${dark} ${source}`;
      if (plot.content === content) continue;
      plot.content = content;
      /** @type {Figure} */
      const figure = JSON.parse(source);
      await plotly.react(plot, figure.data, this.layoutOf(figure), {
        displaylogo: false, scrollZoom: false, modeBarButtons: [["zoom2d", "pan2d", ...(SELECT_BUTTONS.get(name) ?? [])], ZOOM_BUTTONS],
      });
      if (known) continue;
      plot.on("plotly_click", (event) => this.onClick(plot, event));
      plot.on("plotly_selected", (event) => this.onSelect(plot, event));
    }
  }

  /**
   * @param {string} name
   * @returns {PlotElement}
   */
  create(name) {
    const plot = /** @type {PlotElement} */ (Object.assign(document.createElement("div"), { className: "drawn" }));
    this.plots.set(name, plot);
    new ResizeObserver(() => {
      if (plot.offsetParent && plot._fullLayout) window.Plotly?.Plots.resize(plot);
    }).observe(plot);
    return plot;
  }

  /** A figure's layout in the colours of the page's theme. @param {Figure} figure */
  layoutOf({ layout }) {
    const style = getComputedStyle(this.element);
    /** @param {string} name */
    const colour = (name) => style.getPropertyValue(name).trim();
    const [faint, line, accent] = ["--faint", "--line", "--accent"].map(colour);
    /** @param {object} axis */
    const themed = (axis) => ({ ...axis, gridcolor: line, zerolinecolor: line, linecolor: line });
    const touch = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page
    return {
      ...layout, autosize: true, font: { ...layout.font, color: faint, size: 11, family: style.fontFamily },
      xaxis: themed(layout.xaxis), yaxis: themed(layout.yaxis),
      hoverlabel: { bgcolor: colour("--body-background-fill"), bordercolor: line, font: { color: colour("--body-text-color"), size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: accent },
      dragmode: touch ? false : layout.dragmode,
    };
  }

  /**
   * @param {PlotElement} plot
   * @param {ClickEvent} event
   */
  onClick(plot, event) {
    const data = event.points[0]?.customdata;
    if (data?.row) this.emit({ do: "open", row: data.row });
    else if (data?.filter) this.emit({ do: "filter", filter: { ...data.filter, ...plot.layout.meta.filter } });
  }

  /**
   * A box selects the ranges of its sides, a lasso those of the points in it.
   * @param {PlotElement} plot
   * @param {SelectEvent | undefined} event
   */
  onSelect(plot, event) {
    const name = plot.layout.meta.brush;
    if (!event || !name) return;
    /** @type {Record<string, [number, number]>} */
    const ranges = {};
    /** @param {number} value */
    const round = (value) => Math.round(100 * value) / 100;
    for (const axis of /** @type {const} */ (["x", "y"])) {
      const values = event.range ? event.range[axis] : event.points.map((point) => point[axis]);
      if (values?.length) ranges[axis] = [round(Math.min(...values)), round(Math.max(...values))];
    }
    if (Object.keys(ranges).length) this.emit({ do: "brush", plot: name, ranges });
  }

  /**
   * The drawn plot and the point of the button that an event happened on.
   * @param {Event} event
   */
  pointOf(event) {
    const button = targetOf(event).closest("[data-point]");
    const plot = button instanceof HTMLElement ? this.plots.get(chartOf(button)) : undefined;
    if (!(button instanceof HTMLElement) || !plot?._fullLayout) return {};
    const [curveNumber, pointNumber] = JSON.parse(button.dataset.point ?? "[]");
    return { plot, point: { curveNumber, pointNumber } };
  }
}

/** @param {HTMLElement} element */
function chartOf(element) {
  const chart = element.closest("[data-chart]");
  return chart instanceof HTMLElement ? chart.dataset.chart ?? "" : "";
}
