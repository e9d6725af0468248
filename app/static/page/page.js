// The page around the tabs: its theme, its address, and downloads.

/**
 * The button for the theme; the address names theme and tab, so that a reload or a link opens the same.
 * @param {HTMLElement} element
 */
export function mountTitle(element) {
  window.structuredClone = withPrimitivesAsTheyAre(window.structuredClone);
  element.querySelector("button")?.addEventListener("click", () => {
    const dark = document.body.classList.toggle("dark");
    updateAddress((parameters) => parameters.set("__theme", dark ? "dark" : "light"));
  });
  watchStudio();
  hideOldPictures();
  let current = "", pressed = false;
  document.addEventListener("click", (event) => (pressed ||= event.target instanceof Element && event.target.closest("[role=tab]") !== null));
  new MutationObserver(() => {
    const tab = document.querySelector("[role=tab][aria-selected=true]")?.textContent?.trim().toLowerCase();
    if (!tab || tab === current) return;
    if (current || pressed) updateAddress((parameters) => parameters.set("tab", tab));
    current = tab;
  }).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
}

/**
 * `structuredClone` without its cost for what is no object. Gradio's page copies all properties of many components at
 * every event, one `structuredClone` for each number, text and function: 72 000 while the page opens.
 * @param {typeof structuredClone} clone
 * @returns {typeof structuredClone}
 */
export function withPrimitivesAsTheyAre(clone) {
  const refusal = new DOMException("A function could not be cloned.", "DataCloneError");
  return (value, options) => {
    if (typeof value === "function") throw refusal;
    return typeof value === "object" || typeof value === "symbol" ? clone(value, options) : value;
  };
}

const WATCH_MS = 4000;
const NOT_THERE = [502, 503, 504]; // of a proxy in front of the studio

/**
 * Show a bar while the studio does not answer; the page is loaded anew when it runs again.
 */
function watchStudio() {
  const bar = document.createElement("div");
  bar.id = "stopped";
  bar.setAttribute("role", "alert");
  bar.hidden = true;
  bar.textContent = "The studio has stopped. This page is loaded anew when it runs again.";
  document.body.prepend(bar);
  let known = "";
  setInterval(async () => {
    if (document.hidden) return;
    const id = await studioId();
    bar.hidden = id !== null;
    if (id && known && id !== known) location.reload();
    known = id || known;
  }, WATCH_MS);
}

/**
 * A list whose rows change keeps its <img> elements, which would show the picture of another row until the new one has
 * been loaded.
 */
function hideOldPictures() {
  new MutationObserver((records) => {
    for (const { target } of records) {
      if (!(target instanceof HTMLImageElement) || target.complete) continue;
      target.style.visibility = "hidden";
      for (const type of ["load", "error"]) target.addEventListener(type, () => (target.style.visibility = ""), { once: true });
    }
  }).observe(document.body, { subtree: true, attributeFilter: ["src"] });
}

/**
 * What identifies the process that serves the page: null where none answers, "" where it does not say.
 * @returns {Promise<string | null>}
 */
async function studioId() {
  try {
    const answer = await fetch(`${window.gradio_config?.root ?? ""}/gradio_api/app_id`, { cache: "no-store" });
    if (NOT_THERE.includes(answer.status)) return null;
    return answer.ok ? await answer.text() : "";
  } catch {
    return null;
  }
}

/**
 * Change the query of the page's address; the page stays.
 * @param {(parameters: URLSearchParams) => void} change
 */
export function updateAddress(change) {
  const address = new URL(location.href);
  change(address.searchParams);
  history.replaceState(null, "", address);
}

/**
 * Download a file of the studio. @param {string} path
 */
export function download(path) {
  if (!path) return;
  const root = window.gradio_config?.root ?? "";
  const link = Object.assign(document.createElement("a"), { href: root + path, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
}

/**
 * Where a click on a plot is within its width, 0 to 1; null for a click beside it.
 * @param {MouseEvent} event
 */
export function partOfPlot(event) {
  const plot = event.target instanceof Element ? event.target.closest("svg") : null;
  if (!plot) return null;
  const box = plot.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}
