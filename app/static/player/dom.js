// Shorthands for the DOM.

/** @import { Player } from "./player.js" */

const DEBOUNCE = 150; // milliseconds without change before an event is sent to Python

/**
 * An element with attributes and children.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 */
export function createElement(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * A button that submits nothing.
 * @param {Node | string} content
 * @param {() => unknown} onClick
 * @param {Record<string, string>} attributes
 */
export function createButton(content, onClick, attributes = {}) {
  const button = createElement("button", { type: "button", ...attributes }, content);
  button.addEventListener("click", () => onClick());
  return button;
}

/**
 * @param {Element} button
 * @param {boolean} pressed
 */
export function setPressed(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasRenderingContext2DSettings} options
 */
export function context2d(canvas, options = {}) {
  const context = canvas.getContext("2d", options);
  if (!context) throw new Error("The browser has no canvas left.");
  return context;
}

/**
 * The player within an element of the page, null before it is mounted.
 * @param {string} selector of that element
 * @returns {Player | null}
 */
export function findPlayerIn(selector) {
  for (const element of document.querySelectorAll(`${selector}, ${selector} *`)) {
    const { player } = /** @type {{ player?: Player }} */ (element);
    if (player) return player;
  }
  return null;
}

/**
 * The element that an event happened on; the body for events of the document.
 * @param {Event} event
 */
export function targetOf(event) {
  return event.target instanceof HTMLElement || event.target instanceof SVGElement ? event.target : document.body;
}

/**
 * A function that runs `act` once nothing has called it for DEBOUNCE.
 * @param {() => void} act
 */
export function debounce(act) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(act, DEBOUNCE);
  };
}
