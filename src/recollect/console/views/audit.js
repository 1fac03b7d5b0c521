// The audit log, newest first: who did what, with which answer.

import { openDialog } from "../dialog.js";
import { button, element, fill } from "../element.js";
import { pages } from "../pages.js";
import { table } from "../table.js";
import { counted, moment } from "../words.js";

const PAGE = 50;
const COLUMNS = ["When", "Who", "What", "Collection", "Answer", "From", ""];

/** Show the page. */
export function audit(page) {
  const { api, signal, root } = page;
  page.title("Audit");
  const list = pages({
    signal,
    ask: (token) => api.call("ReadAudit", { MaxResults: PAGE, NextToken: token }, signal),
    draw: ({ Records }) =>
      Records.length
        ? table(COLUMNS, Records.map(row))
        : element("p.hint", {}, "No call of this account is on this page."),
  });
  fill(
    root,
    element("h1", {}, "Audit"),
    element(
      "p.lead",
      {},
      "Every call leaves a record before its answer leaves: no pictures, no templates, matches by " +
        "FaceId. The records are chained, so that none can be changed unseen; ",
      element("code", {}, "recollect audit verify"),
      " checks the chain at the machine.",
    ),
    element("div.actions", {}, button("Look again", "quiet", list.first)),
    list.node,
  );
  return list.first();
}

function row({ Sequence, Entry }) {
  const cell = (name, ...content) => element("td", { "data-label": name }, content);
  const { userIdentity: who = {}, additionalEventData: more = {} } = Entry;
  const matches = more.matches?.length ?? 0;
  const number = `record ${Sequence}`;
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, moment(Date.parse(Entry.eventTime) / 1000)),
    cell("Who", who.userName ?? "nobody"),
    cell("What", Entry.eventName ?? "no operation"),
    cell("Collection", Entry.requestParameters?.CollectionId ?? "–"),
    cell("Answer", Entry.errorCode ?? (matches ? counted(matches, "match", "matches") : "done")),
    cell("From", Entry.sourceIPAddress ?? "–"),
    element(
      "td.end",
      {},
      button("Details", "quiet", () => show(number, Entry), {
        "aria-label": `Details of ${number}`,
      }),
    ),
  );
}

function show(number, entry) {
  const text = JSON.stringify(entry, null, 2);
  openDialog(
    number[0].toUpperCase() + number.slice(1),
    [element("pre", { tabindex: 0, "aria-label": "The record" }, text)],
    [],
  );
}
