// Every part of the tab Errors: presses, brushes and keys go to Python; what it answers replaces the part.
const root = () => element.closest("#errors") || element;
const said = (it) => JSON.parse(it.dataset.say);
let dragged = false, focused = null;

element.addEventListener("click", (event) => {
  const it = event.target.closest("[data-say]");
  if (dragged) { dragged = false; return; }
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
      if (it.dataset.tip && !it.hasAttribute("aria-label")) { // a dot: as the mouse is told it
        it.setAttribute("role", "button");
        it.setAttribute("aria-label", it.dataset.tip);
      }
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

// --- brushing

function brush(area, down) {
  const box = area.getBoundingClientRect(), { plot, ends } = JSON.parse(area.dataset.brush);
  const shade = Object.assign(document.createElement("i"), { className: "brushing" });
  const part = (event) => ({
    x: Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)),
    y: Math.min(1, Math.max(0, 1 - (event.clientY - box.top) / box.height)),
  });
  const from = part(down);
  let to = from;
  const move = (event) => {
    to = part(event);
    if (!shade.isConnected && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < 5) return;
    area.append(shade);
    const [low, high] = ends.y ? [Math.min(from.y, to.y), Math.max(from.y, to.y)] : [0, 1];
    const [left, right] = [Math.min(from.x, to.x), Math.max(from.x, to.x)];
    shade.style.cssText = `left:${left * 100}%;width:${(right - left) * 100}%;bottom:${low * 100}%;height:${(high - low) * 100}%`;
  };
  const up = () => {
    removeEventListener("pointermove", move);
    removeEventListener("pointerup", up);
    if (!shade.isConnected) return;
    shade.remove();
    dragged = true;
    setTimeout(() => { dragged = false; });
    const at = (axis, place) => ends[axis][0] + place * (ends[axis][1] - ends[axis][0]);
    const ranges = Object.fromEntries(Object.keys(ends).map((axis) => [axis, [at(axis, from[axis]), at(axis, to[axis])].sort((a, b) => a - b)]));
    trigger("select", { do: "brush", plot, ranges });
  };
  addEventListener("pointermove", move);
  addEventListener("pointerup", up);
}
element.addEventListener("pointerdown", (event) => {
  const area = event.target.closest("[data-brush]");
  if (!area || event.button) return;
  if (event.pointerType === "mouse") event.preventDefault(); // no selection of words
  brush(area, event);
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

new MutationObserver(() => {
  mark();
  rove();
  if (wanted !== null && list() && list().children[wanted]) { choose(list().children[wanted]); wanted = null; focused = null; }
  refocus();
  if (tip && !tip.matches(":hover")) { tip.remove(); tip = null; }
}).observe(element, { childList: true, subtree: true });
mark();
rove();

// --- the first look at the tab begins the evaluation

if (element.id === "errors-state" || element.querySelector("#errors-state") || element.closest("#errors-state")) {
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    trigger("select", { do: "begin" });
  });
  seen.observe(element);
}
