// The place "data set" in the page's head opens and closes here; presses that ask something of it go to Python.
const place = () => document.querySelector("#datasets");
const button = () => document.querySelector("#datasets-button");

function show(open) {
  place().classList.toggle("open", open);
  button().setAttribute("aria-expanded", String(open));
}

document.addEventListener("click", (event) => {
  if (!element.isConnected || !event.target.closest) return;
  if (event.target.closest("#datasets-button")) return show(!place().classList.contains("open"));
  const it = event.target.closest("[data-dataset]");
  if (it) trigger("select", JSON.parse(it.dataset.dataset));
  const link = event.target.closest("a[data-open]");
  if (link) {
    const tab = new URL(location.href).searchParams.get("tab"), address = new URL(link.href);
    if (tab) address.searchParams.set("tab", tab);
    link.href = address;
  }
  if (!event.target.isConnected || event.target.closest("#datasets, .options, [data-testid=toast-body]")) return;
  if (place().classList.contains("open")) show(false);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !element.isConnected || !place().classList.contains("open")) return;
  if (event.target.closest && event.target.closest("[role=listbox], input[aria-expanded=true]")) return;
  show(false);
  button().focus();
});
