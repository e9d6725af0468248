// The page around the tabs: its theme, its address, and downloads.

/**
 * The button for the theme; the address names theme and tab, so that a reload or a link opens the same.
 * @param {HTMLElement} element
 */
export function mountTitle(element) {
  element.querySelector("button")?.addEventListener("click", () => {
    const dark = document.body.classList.toggle("dark");
    updateAddress((parameters) => parameters.set("__theme", dark ? "dark" : "light"));
  });
  let current = "";
  new MutationObserver(() => {
    const tab = document.querySelector("[role=tab][aria-selected=true]")?.textContent?.trim().toLowerCase();
    if (!tab || tab === current) return;
    if (current) updateAddress((parameters) => parameters.set("tab", tab));
    current = tab;
  }).observe(document.body, { subtree: true, childList: true, attributeFilter: ["aria-selected"] });
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
