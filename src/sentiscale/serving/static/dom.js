/* Small helpers: making elements, writing numbers. Text always goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/** An element. `text`, `class`, `vars` (CSS variables) and `on` (listeners) aside, options are attributes. */
export function make(tag, options = {}, ...children) {
  return fill(document.createElement(tag), options, children);
}

/** The same for SVG. */
export function draw(tag, options = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), options, children);
}

function fill(element, { text, vars = {}, on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, value);
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  if (text !== undefined) element.textContent = text;
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** 12345 as 12,345. */
export const count = (number) => number.toLocaleString("en");

/** "1 review", "2 reviews". */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A share as per cent; never 100% or 0% for what is not exactly that. */
export function percent(share, digits = 1) {
  const least = 10 ** -digits;
  const value = share * 100;
  if (share < 1 && value > 100 - least) return `>${(100 - least).toFixed(digits)}%`;
  if (share > 0 && value < least) return `<${least.toFixed(digits)}%`;
  return `${value.toFixed(digits)}%`;
}

/** A number with its sign, as +1.20 or −0.31. */
export function signed(number, digits = 2) {
  const size = Math.abs(number).toFixed(digits);
  return `${number < 0 && Number(size) > 0 ? "−" : "+"}${size}`;
}

/** Calls `action` once `milliseconds` have passed without another call. */
export function debounced(action, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}

/** Calls `action` at most once in `milliseconds`, and once after the last call. */
export function throttled(action, milliseconds) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      action();
    }, milliseconds);
  };
}

/** What a screen reader reads out next. */
export function say(sentence) {
  const region = byId("said");
  if (region.textContent !== sentence) region.textContent = sentence;
}
