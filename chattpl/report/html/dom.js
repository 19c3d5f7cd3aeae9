// Elements. Whatever they are given to say becomes text, never markup.

"use strict";

/** An element with attributes (left out where false or null) and children: elements, and strings that become text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** An option of a select. */
function option(value, text, chosen = false) {
  return element("option", { value, selected: chosen }, text);
}

/** Foreign text: in its own direction, and without effect on the direction of what stands around it. */
function foreign(text, attributes = {}) {
  return element("bdi", { dir: "auto", ...attributes }, text);
}

/** The part of the page with that id. */
function part(id) {
  return document.getElementById(id);
}
