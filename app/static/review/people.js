// Who reviews: the name that every decision carries, asked for once and kept in this browser.

import { createElement } from "../player/dom.js";
import { readValue, writeValue } from "./storage.js";

/** @import { People } from "../player/types.js" */

const MAX_NAME = "60"; // characters
const KEY = "review-reviewer";

export class Reviewer {
  /** @param {(name: string) => void} onChange the reviewer is known, or another one */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {People} */
    this.people = { reviewer: "", signed: "", names: [], part: "" };
    this.sent = ""; // the name that Python was sent last
    this.input = createElement("input", { type: "text", "aria-label": "Reviewer", maxlength: MAX_NAME, autocomplete: "name", value: readValue(KEY) ?? "" });
    this.list = createElement("select", { "aria-label": "Reviewer" });
    this.hint = createElement("span", { class: "who-hint" });
    this.part = createElement("p", { class: "hint who-part", hidden: "" });
    this.field = createElement("label", { class: "prompt-who" }, createElement("span", {}, "Reviewer"), this.input, this.hint);
    this.input.addEventListener("change", () => this.set(this.input.value.trim()));
    this.list.addEventListener("change", () => this.set(this.list.value));
    this.update();
  }

  /** The name, "" while it is not known. */
  get name() {
    const { signed, names } = this.people;
    if (signed) return signed;
    return names.length ? this.list.value : this.input.value.trim();
  }

  /** The field that takes the name. */
  get control() {
    return this.people.names.length && !this.people.signed ? this.list : this.input;
  }

  /** @param {string} name */
  set(name) {
    writeValue(KEY, name || null);
    this.update();
    this.tell();
  }

  tell() {
    if (!this.name || this.name === this.sent) return;
    this.sent = this.name;
    this.onChange(this.name);
  }

  /**
   * Who may review here, as Python says.
   * @param {People} people
   */
  show(people) {
    const same = JSON.stringify(people) === JSON.stringify(this.people);
    this.people = people;
    if (!same) this.update();
    if (people.reviewer !== this.name) this.tell();
  }

  update() {
    const { signed, names, part } = this.people, known = this.list.value || readValue(KEY) || "";
    if (names.length && this.list.options.length !== names.length + 1) {
      this.list.replaceChildren(...["", ...names].map((name) => createElement("option", { value: name }, name || "choose your name …")));
      this.list.value = names.includes(known) ? known : "";
    }
    const { control } = this, shown = control === this.list ? this.input : this.list;
    if (this.field.contains(shown)) shown.replaceWith(control);
    this.input.disabled = Boolean(signed);
    if (signed) this.input.value = signed;
    this.field.classList.toggle("unknown", !this.name);
    this.hint.textContent = signed ? "as you are signed in" : this.name ? "" : "Stored with every decision, and in this browser.";
    this.hint.hidden = !this.hint.textContent;
    this.part.textContent = part;
    this.part.hidden = !part;
  }
}
