// Dialogs: one that asks before something is deleted, and a plain one.

import { button, element, field } from "./element.js";

/**
 * Open a modal dialog.
 *
 * @returns {{node: HTMLDialogElement, close: (verdict: string) => void, closed: Promise<string>}}
 *   `closed` resolves to the verdict, or to "" where the person left.
 */
export function openDialog(title, content, buttons, leaveText = "Close") {
  const heading = element("h2", { id: "dialog-title" }, title);
  const leave = button(leaveText, "quiet", () => node.close(""));
  const node = element(
    "dialog",
    { "aria-labelledby": heading.id },
    heading,
    content,
    element("div.actions", {}, buttons, leave),
  );
  const closed = new Promise((resolve) => {
    node.addEventListener("close", () => {
      node.remove();
      resolve(node.returnValue);
    });
  });
  document.body.append(node);
  node.showModal();
  // A route that changes behind a dialog would leave it without a meaning.
  window.addEventListener("hashchange", () => node.open && node.close(""), { once: true });
  return { node, close: (verdict) => node.close(verdict), closed };
}

/**
 * Ask before something is destroyed.
 *
 * @param {string | null} typed a name to type first, for what cannot be undone by enrolling anew.
 * @returns {Promise<boolean>}
 */
export async function confirmed(title, text, action, typed = null) {
  const confirm = button(action, "danger", () => dialog.close("yes"), { disabled: typed !== null });
  const content = [element("p", {}, text)];
  if (typed !== null) {
    const input = element("input", { type: "text", autocomplete: "off", spellcheck: "false" });
    input.addEventListener("input", () => {
      confirm.disabled = input.value !== typed;
    });
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !confirm.disabled) dialog.close("yes");
    });
    content.push(field(`Type ${typed} to confirm`, input));
  }
  const dialog = openDialog(title, content, [confirm], "Cancel");
  return (await dialog.closed) === "yes";
}
