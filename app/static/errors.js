// Runs for each part of the tab Errors: clicks, selections and keys go to Python, whose answer replaces the part.
const root = () => element.closest("#errors") || element;
const said = (it) => JSON.parse(it.dataset.say);
let focused = null;

element.addEventListener("click", (event) => {
  const it = event.target.closest("[data-say]");
  if (it) trigger("select", said(it));
});

// --- what is pressed: the filter stands in one place, and marks of all parts follow it

const equal = (a, b) => JSON.stringify(a) === JSON.stringify(b);
function mark() {
  const bar = root().querySelector("[data-named]");
  const named = bar ? JSON.parse(bar.dataset.named) : {};
  for (const it of root().querySelectorAll("[data-filter]")) {
    const own = JSON.parse(it.dataset.filter);
    const pressed = String(Object.keys(own).every((name) => equal(own[name], named[name])));
    if (it.getAttribute("aria-pressed") !== pressed) it.setAttribute("aria-pressed", pressed);
  }
}

// --- a part that was replaced keeps the focus where it was

const nameOf = (it) => it.dataset.row || it.dataset.say;
element.addEventListener("focusin", (event) => {
  const it = event.target.closest("[data-row], [data-say]");
  focused = it && nameOf(it);
});
element.addEventListener("focusout", (event) => {
  if (event.relatedTarget && !element.contains(event.relatedTarget)) focused = null;
});
document.addEventListener("pointerdown", (event) => { if (!element.contains(event.target)) focused = null; });
function refocus() {
  if (!focused || document.activeElement !== document.body) return;
  const same = [...element.querySelectorAll("[data-row], [data-say]")].find((it) => nameOf(it) === focused);
  if (same) same.focus({ preventScroll: true });
}

// --- arrow keys within a plot: one stop for the tabulator key

function rove() {
  for (const plot of element.querySelectorAll("[data-rove]")) {
    if (plot.querySelector("[tabindex]")) continue;
    plot.querySelectorAll("[data-say]").forEach((it, i) => {
      it.setAttribute("tabindex", i ? "-1" : "0");
    });
  }
}
function roveTo(plot, from, key) {
  const all = [...plot.querySelectorAll("[data-say]")];
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  const next = all[all.indexOf(from) + step];
  if (!next) return;
  all.forEach((it) => it.setAttribute("tabindex", it === next ? "0" : "-1"));
  next.focus();
}

// --- the list: j and k everywhere in the tab, arrows where the list has the focus

const list = () => element.querySelector("ol.errors");
const current = () => element.querySelector("[data-row][aria-current]");
let wanted = null;
function choose(row, focus = true) {
  for (const other of list().querySelectorAll("[data-row]")) {
    other.tabIndex = other === row ? 0 : -1;
    if (other === row) other.setAttribute("aria-current", "true");
    else other.removeAttribute("aria-current");
  }
  if (focus) row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}
function step(by) {
  const rows = [...list().querySelectorAll("[data-row]")];
  const place = rows.indexOf(current());
  const next = rows[place < 0 ? 0 : place + by];
  if (next) return choose(next);
  const more = element.querySelector(".more");
  if (place >= 0 && by > 0 && more && wanted === null) { wanted = place + 1; more.click(); }
}
element.addEventListener("focusin", (event) => {
  const row = event.target.closest("[data-row]");
  if (row && row !== current()) choose(row, false);
});

const WRITING = "input:not([type=range]), textarea, select, dialog[open], [contenteditable]";
function onKey(event) {
  // Not the element itself: where it stands as display: contents it has no offsetParent.
  if (event.ctrlKey || event.metaKey || event.altKey || !root().offsetParent) return;
  const target = event.target.closest ? event.target : document.body;
  const inside = element.contains(target);
  const press = inside && target.closest("[data-say]:not(button)");
  if (press && [" ", "Enter"].includes(event.key)) { event.preventDefault(); trigger("select", said(press)); return; }
  const plot = inside && target.closest("[data-rove]");
  if (plot && event.key.startsWith("Arrow")) { event.preventDefault(); roveTo(plot, target, event.key); return; }
  if (!list() || target.closest(WRITING)) return;
  const arrows = inside ? { ArrowDown: 1, ArrowUp: -1 } : {};
  const by = { j: 1, k: -1, ...arrows }[event.key];
  if (by) { event.preventDefault(); step(by); return; }
  const row = target.closest("[data-row]") || (target === document.body && current());
  if (event.key === "Enter" && row && !target.closest("button")) trigger("select", { do: "open", row: row.dataset.row });
}
document.addEventListener("keydown", (event) => element.isConnected && onKey(event));

// --- plots: plotly.js is loaded once for the page, when the first figure arrives

const PLOTLY = "studio/errors/plotly.min.js";
// Named one by one: none sends data anywhere.
const BUTTONS = { lengths: ["select2d", "lasso2d"], scores: ["select2d"] };
const ZOOM = ["zoomIn2d", "zoomOut2d", "resetScale2d"];
const plots = new Map(); // chart's name -> its drawn element, which outlives the parts that Python replaces

function loadPlotly() {
  window.tevitPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { window.tevitPlotly = undefined; script.remove(); reject(new Error(PLOTLY)); };
    script.src = PLOTLY;
    document.head.append(script);
  });
  return window.tevitPlotly;
}

// The colours of the page, which change with its theme.
function themed(figure) {
  const style = getComputedStyle(element), colour = (name) => style.getPropertyValue(name).trim();
  const [faint, line, accent] = ["--faint", "--line", "--accent"].map(colour);
  const axis = (own) => ({ ...own, gridcolor: line, zerolinecolor: line, linecolor: line });
  const coarse = matchMedia("(pointer: coarse)").matches; // a finger scrolls the page
  return {
    ...figure.layout, autosize: true, font: { ...figure.layout.font, color: faint, size: 11, family: style.fontFamily },
    xaxis: axis(figure.layout.xaxis), yaxis: axis(figure.layout.yaxis),
    hoverlabel: { bgcolor: colour("--body-background-fill"), bordercolor: line, font: { color: colour("--body-text-color"), size: 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: faint, activecolor: accent },
    dragmode: coarse ? false : figure.layout.dragmode,
  };
}

function clicked(plot, event) {
  const data = event.points.length ? event.points[0].customdata : null;
  if (data && data.row) trigger("select", { do: "open", row: data.row });
  else if (data && data.filter) trigger("select", { do: "filter", filter: { ...data.filter, ...plot.layout.meta.filter } });
}

// A box sets the ranges of its sides, a lasso those of the points in it.
function selected(plot, event) {
  const name = plot.layout.meta.brush;
  if (!event || !name) return;
  const round = (value) => Math.round(100 * value) / 100;
  const ends = (values) => [round(Math.min(...values)), round(Math.max(...values))];
  const axes = ["x", "y"].map((axis) => [axis, event.range ? event.range[axis] : event.points.map((point) => point[axis])]);
  const ranges = Object.fromEntries(axes.filter(([, values]) => values && values.length).map(([axis, values]) => [axis, ends(values)]));
  if (Object.keys(ranges).length) trigger("select", { do: "brush", plot: name, ranges });
}

function create(name) {
  const plot = Object.assign(document.createElement("div"), { className: "drawn" });
  plots.set(name, plot);
  new ResizeObserver(() => {
    if (plot.offsetParent && plot._fullLayout) window.Plotly.Plots.resize(plot);
  }).observe(plot);
  return plot;
}

async function draw() {
  const places = [...element.querySelectorAll("[data-plot]")];
  if (!places.length) return;
  const Plotly = await loadPlotly();
  const theme = document.body.classList.contains("dark");
  for (const place of places) {
    if (!place.isConnected) continue;
    const name = place.closest("[data-chart]").dataset.chart;
    const fresh = !plots.has(name), plot = plots.get(name) || create(name);
    const wanted = `${theme} ${place.dataset.plot}`;
    // Gradio keeps elements, sets their attributes and removes the children that it does not know.
    if (plot.parentElement !== place) place.replaceChildren(plot);
    if (plot.wanted === wanted) continue;
    plot.wanted = wanted;
    const figure = JSON.parse(place.dataset.plot);
    await Plotly.react(plot, figure.data, themed(figure), {
      displaylogo: false, scrollZoom: false, modeBarButtons: [["zoom2d", "pan2d", ...(BUTTONS[name] || [])], ZOOM],
    });
    if (!fresh) continue;
    plot.on("plotly_click", (event) => clicked(plot, event));
    plot.on("plotly_selected", (event) => selected(plot, event));
  }
}
const redraw = () => draw().catch((error) => console.warn("plots cannot be drawn", error));
new MutationObserver(redraw).observe(document.body, { attributeFilter: ["class"] });

// A focused button of a plot shows its point as the mouse does.
element.addEventListener("focusin", (event) => {
  const point = event.target.closest("[data-point]");
  const plot = point && plots.get(point.closest("[data-chart]").dataset.chart);
  if (!plot || !plot._fullLayout) return;
  const [curveNumber, pointNumber] = JSON.parse(point.dataset.point);
  window.Plotly.Fx.hover(plot, [{ curveNumber, pointNumber }]);
});
element.addEventListener("focusout", (event) => {
  const point = event.target.closest("[data-point]");
  const plot = point && plots.get(point.closest("[data-chart]").dataset.chart);
  if (plot && plot._fullLayout) window.Plotly.Fx.unhover(plot);
});

// --- what is under the mouse

let tip = null;
element.addEventListener("pointermove", (event) => {
  const it = event.target.closest("[data-tip]");
  if (!it || event.pointerType !== "mouse") { if (tip) tip.remove(); tip = null; return; }
  if (!tip) { tip = Object.assign(document.createElement("div"), { className: "errors-tip" }); document.body.append(tip); }
  tip.textContent = it.dataset.tip;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  tip.style.transform = `translate(${left}px, ${Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 8)}px)`;
});
element.addEventListener("pointerleave", () => { if (tip) tip.remove(); tip = null; });

new MutationObserver((records) => {
  if (records.every((record) => record.target.closest && record.target.closest(".drawn"))) return; // by plotly itself
  mark();
  rove();
  redraw();
  if (wanted !== null && list() && list().children[wanted]) { choose(list().children[wanted]); wanted = null; focused = null; }
  refocus();
  if (tip && !tip.matches(":hover")) { tip.remove(); tip = null; }
}).observe(element, { childList: true, subtree: true });
mark();
rove();
redraw();

// --- the first look at the tab begins the evaluation

if (element.id === "errors-state" || element.querySelector("#errors-state") || element.closest("#errors-state")) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    trigger("select", { do: "begin" });
  });
  seen.observe(element);
}
