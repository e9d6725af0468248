// The form of a model's parameters: a field for each, its documentation, and a sentence where its value is wrong.

import { createElement } from "../player/dom.js";

/** @import { ParameterField, ParameterForm } from "../player/types.js" */

/**
 * @param {HTMLElement} host element to fill
 * @param {(values: Record<string, string | boolean>) => void} onChange called with all values, by name
 */
export function mountForm(host, onChange) {
  /** @type {Map<string, { input: HTMLElement, error: HTMLElement }>} */
  const rows = new Map();
  let values = /** @type {Record<string, string | boolean>} */ ({});

  /** @param {ParameterField} field */
  const createRow = (field) => {
    const { input, read } = createInput(field, values[field.name]);
    const id = `${host.closest("[id]")?.id || "parameters"}-${field.name}`;
    const error = createElement("p", { class: "problem", role: "alert", id: `${id}-error`, hidden: "" });
    input.id = id;
    input.setAttribute("aria-describedby", error.id);
    input.addEventListener("input", () => {
      values = { ...values, [field.name]: read() };
      onChange(values);
    });
    rows.set(field.name, { input, error });
    const help = field.help ? [createElement("p", { class: "hint" }, field.help)] : [];
    const row = createElement("div", { class: field.kind === "flag" ? "row flag" : "row" }, createElement("label", { for: id }, field.name), input);
    return createElement("div", { class: "parameter" }, row, ...help, error);
  };

  return {
    /** @param {ParameterForm | null} form */
    draw(form) {
      rows.clear();
      values = form?.values ?? {};
      const problem = form?.problem ? [createElement("p", { class: "problem", role: "alert" }, form.problem)] : [];
      host.replaceChildren(...(form?.fields ?? []).map(createRow), ...problem);
    },
    /** @param {Record<string, string>} sentences by name of the field */
    showErrors(sentences) {
      for (const [name, { input, error }] of rows) {
        error.textContent = sentences[name] ?? "";
        error.hidden = !(name in sentences);
        input.setAttribute("aria-invalid", String(name in sentences));
      }
    },
  };
}

/**
 * @param {ParameterField} field
 * @param {string | boolean | undefined} value
 * @returns {{ input: HTMLInputElement | HTMLSelectElement, read: () => string | boolean }}
 */
function createInput(field, value) {
  if (field.kind === "choice") {
    const options = field.choices.map((choice) => createElement("option", { value: choice }, choice || "none"));
    const input = createElement("select", {}, ...options);
    input.value = String(value ?? "");
    return { input, read: () => input.value };
  }
  if (field.kind === "flag") {
    const input = createElement("input", { type: "checkbox" });
    input.checked = value === true;
    return { input, read: () => input.checked };
  }
  // No type "number": the browser would give no value for text that is not one, and no sentence could say what is wrong.
  const mode = { whole: "numeric", number: "decimal", text: "text" }[field.kind];
  const input = createElement("input", { type: "text", inputmode: mode, placeholder: field.placeholder, autocomplete: "off" });
  input.value = String(value ?? "");
  return { input, read: () => input.value };
}
