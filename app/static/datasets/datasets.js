// The place "data set" in the page's head opens and closes here; presses on buttons for the data set go to Python.

import { targetOf } from "../player/dom.js";

/** @import { Emit } from "../player/types.js" */

/**
 * @param {HTMLElement} element of the page that is open
 * @param {Emit} emit sends an event to Python
 */
export function mount(element, emit) {
  const isOpen = () => document.querySelector("#datasets")?.classList.contains("open") ?? false;
  /** @param {boolean} open */
  const setOpen = (open) => {
    document.querySelector("#datasets")?.classList.toggle("open", open);
    document.querySelector("#datasets-button")?.setAttribute("aria-expanded", String(open));
  };

  setOpen(false); // the button says from now on that it can be pressed, also where gradio renders it later or anew
  new MutationObserver((_changes, observer) => {
    if (!element.isConnected) observer.disconnect();
    else if (document.querySelector("#datasets-button:not([aria-expanded])")) setOpen(isOpen());
  }).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("click", (event) => {
    const target = targetOf(event);
    if (!element.isConnected) return;
    if (target.closest("#datasets-button")) return setOpen(!isOpen());
    const button = target.closest("[data-dataset]"), link = target.closest("a[data-open]");
    if (button instanceof HTMLElement && button.dataset.dataset) emit(JSON.parse(button.dataset.dataset));
    if (link instanceof HTMLAnchorElement) link.href = withTab(link.href);
    if (target.closest("#datasets [role=option]")) closeList(); // or that of several choices would stay, over the button
    if (isOpen() && target.isConnected && !target.closest("#datasets, .options, [data-testid=toast-body]")) setOpen(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !element.isConnected || !isOpen()) return;
    if (targetOf(event).closest("[role=listbox], input[aria-expanded=true]")) return;
    setOpen(false);
    const button = document.querySelector("#datasets-button");
    if (button instanceof HTMLElement) button.focus();
  });
}

function closeList() {
  if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
}

/** An address that opens the tab that is open now. @param {string} href */
function withTab(href) {
  const address = new URL(href);
  address.searchParams.set("tab", tabOfDataset());
  return address.href;
}

/** The tab to see a data set in: the one that is open now, but for Segment, which shows none. */
function tabOfDataset() {
  const tab = document.querySelector("[role=tab][aria-selected=true]")?.textContent?.trim().toLowerCase();
  return !tab || tab === "segment" ? "compare" : tab;
}

const KEPT_PARAMETERS = ["tab", "run", "shown", "__theme"];

/**
 * Load the page of a data set. Another one than before is another document: what its tabs have opened is dropped from
 * the address.
 * @param {string} query
 */
export function openDataset(query) {
  if (!query) return;
  const address = new URL(location.href), parameters = new URLSearchParams(query);
  if (parameters.get("data") !== address.searchParams.get("data")) {
    for (const name of [...address.searchParams.keys()]) if (!KEPT_PARAMETERS.includes(name)) address.searchParams.delete(name);
  }
  for (const [name, value] of parameters) address.searchParams.set(name, value);
  address.searchParams.set("tab", tabOfDataset());
  address.searchParams.delete("t"); // makes equal queries different, so that gradio reports a change
  location.assign(address);
}
