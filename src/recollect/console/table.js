// A table that becomes a stack of cards on a narrow screen.

import { element } from "./element.js";

/**
 * Build a table.
 *
 * @param {(string | Node)[]} columns heads of the columns; an empty one is no head.
 * @param {Node[]} rows
 * @param {"cards" | "compact.cards"} kind compact tables are of small figures, close together.
 */
export function table(columns, rows, kind = "cards") {
  const heads = columns.map((column) =>
    column === "" ? element("td") : element("th", { scope: "col" }, column),
  );
  return element(
    `table.${kind}`,
    {},
    element("thead", {}, element("tr", {}, heads)),
    element("tbody", {}, rows),
  );
}
