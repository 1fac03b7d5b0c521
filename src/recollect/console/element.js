// DOM nodes from plain values; a string always becomes text, never markup.

/**
 * Make an element.
 *
 * element("p.note", { id: "n" }, "text", node): tag and classes, attributes, children.
 * `on` holds listeners by event name; true and false switch an attribute; null children are
 * left out.
 */
export function element(description, attributes = {}, ...children) {
  const [tag, ...classes] = description.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.classList.add(...classes);
  for (const [name, value] of Object.entries(attributes)) attribute(node, name, value);
  append(node, ...children);
  return node;
}

/** Add children to a node; strings and numbers become text. */
export function append(node, ...children) {
  const present = children.flat(Infinity).filter((child) => child !== null && child !== undefined);
  node.append(...present.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** Replace all children of a node. */
export function fill(node, ...children) {
  node.replaceChildren();
  return append(node, ...children);
}

function attribute(node, name, value) {
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
  } else if (name === "value") {
    node.value = value;
  } else if (name === "href") {
    // Every address is one of the console's own: a caller's string can never become a scheme.
    if (!value.startsWith("#/")) throw new Error("a link leads to a page of the console");
    node.setAttribute(name, value);
  } else if (value === true) {
    node.setAttribute(name, "");
  } else if (value !== false && value !== null && value !== undefined) {
    node.setAttribute(name, value);
  }
}

let fieldCount = 0;

/** A labelled field: the label above, the control below it, a hint where one is given. */
export function field(label, control, hint = null) {
  control.id ||= `field-${++fieldCount}`;
  const note = hint === null ? null : element("small", { id: `${control.id}-hint` }, hint);
  if (note) control.setAttribute("aria-describedby", note.id);
  return element("div.field", {}, element("label", { for: control.id }, label), control, note);
}

/** A select of values, or of [value, text] pairs. */
export function select(options, chosen) {
  const node = element("select");
  for (const option of options) {
    const [value, text] = Array.isArray(option) ? option : [option, option];
    append(node, element("option", { value }, text));
  }
  node.value = chosen;
  return node;
}

/** A button; `style` is quiet, danger or empty for the main one. */
export function button(text, style, click, attributes = {}) {
  const node = element("button", { type: "button", ...attributes }, text);
  if (style) node.classList.add(style);
  node.addEventListener("click", click);
  return node;
}
