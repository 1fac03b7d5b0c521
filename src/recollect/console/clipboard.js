// Copying a value, and short messages that a screen reader speaks.

import { button, element } from "./element.js";

const MESSAGE_MS = 4000;

/** Say something for a moment, on the screen and to a screen reader. */
export function announce(text) {
  const place = document.getElementById("messages");
  const message = element("p", {}, text);
  place.append(message);
  setTimeout(() => message.remove(), MESSAGE_MS);
}

/** A button that copies a value; `what` says what it is. */
export function copyButton(value, what) {
  const label = `Copy ${what} ${value}`;
  return button("Copy", "tiny", () => copy(value, what), { "aria-label": label, title: label });
}

async function copy(value, what) {
  try {
    await navigator.clipboard.writeText(value);
    announce(`Copied the ${what}.`);
  } catch {
    // Without HTTPS, or without the person's leave, a browser keeps the clipboard closed.
    announce(`This browser does not let the page copy. The ${what} is ${value}`);
  }
}
