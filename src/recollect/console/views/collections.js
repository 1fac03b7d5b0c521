// All collections: their figures, a new one, and the deletion of one.

import { announce } from "../clipboard.js";
import { confirmed } from "../dialog.js";
import { button, element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { link } from "../route.js";
import { table } from "../table.js";
import { counted, day, modelName } from "../words.js";

const PAGE = 50;
const COLUMNS = ["Collection", "Faces", "Users", "Model", "Created", ""];
const DESCRIBED_AT_ONCE = 4;

/** Show the list of collections. */
export async function collections(page) {
  const { api, about, signal, root } = page;
  page.title("Collections");
  const problem = element("div");
  const listed = element("div");
  const more = element("div");
  const name = element("input", {
    type: "text",
    required: true,
    maxlength: 255,
    pattern: "[a-zA-Z0-9_.\\-]+",
    title: "Letters, digits and _ . - only",
    autocomplete: "off",
    spellcheck: "false",
  });
  const open = button("Open", "quiet", () => {
    if (name.reportValidity()) location.hash = link("collections", name.value);
  });
  const form = element(
    "form.row",
    { on: { submit: (event) => (event.preventDefault(), create()) } },
    field("Name of a collection", name),
    element("div.actions", {}, element("button", { type: "submit" }, "Create"), open),
  );
  fill(
    root,
    element("h1", {}, "Collections"),
    element(
      "p.lead",
      {},
      "A collection holds the templates of the faces that a search compares with.",
    ),
    form,
    problem,
    listed,
    more,
  );

  async function create() {
    problem.replaceChildren();
    try {
      await api.call("CreateCollection", { CollectionId: name.value }, signal);
      announce(`Created ${name.value}.`);
      location.hash = link("collections", name.value);
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  async function remove(id, row, count) {
    const holds = count === null ? "everything in it" : `its ${counted(count, "face")}`;
    const yes = await confirmed(
      `Delete ${id}?`,
      `The collection and ${holds} are erased at once, with its key. Nothing brings them back.`,
      "Delete the collection",
      id,
    );
    if (!yes) return;
    problem.replaceChildren();
    try {
      await api.call("DeleteCollection", { CollectionId: id }, signal);
      row.remove();
      name.focus();
      announce(`Deleted ${id}.`);
      if (!listed.querySelector("tbody tr")) load();
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  async function load(token = undefined) {
    if (token === undefined) fill(listed, element("p.hint", {}, "Loading …"));
    more.replaceChildren();
    let answer;
    try {
      answer = await api.call("ListCollections", { MaxResults: PAGE, NextToken: token }, signal);
    } catch (error) {
      if (!signal.aborted) fill(listed, failure(error));
      return;
    }
    if (token === undefined)
      fill(listed, answer.CollectionIds.length ? table(COLUMNS, []) : empty());
    const body = listed.querySelector("tbody");
    const rows = answer.CollectionIds.map((id, index) =>
      row(id, answer.FaceModelVersions[index], about, remove),
    );
    body?.append(...rows.map(({ node }) => node));
    if (answer.NextToken)
      fill(
        more,
        button("Show more", "quiet", () => load(answer.NextToken)),
      );
    await describeAll(rows, api, signal);
  }
  await load();
}

function empty() {
  return element(
    "div.empty",
    {},
    element("p.lead", {}, "There is no collection yet."),
    element("p", {}, "Create one above, then enrol a face from a picture and search for it."),
  );
}

function row(id, version, about, remove) {
  const cell = (label, content = "…") => element("td", { "data-label": label }, content);
  const [faces, users, created] = [cell("Faces"), cell("Users"), cell("Created")];
  let count = null;
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, element("a", { href: link("collections", id) }, id)),
    faces,
    users,
    cell("Model", modelName(about, version)),
    created,
    element(
      "td.end",
      {},
      button("Delete", "quiet", () => remove(id, node, count), { "aria-label": `Delete ${id}` }),
    ),
  );
  const show = (described) => {
    count = described?.FaceCount ?? null;
    faces.textContent = described ? described.FaceCount.toLocaleString("en") : "–";
    users.textContent = described ? described.UserCount.toLocaleString("en") : "–";
    created.textContent = described ? day(described.CreationTimestamp) : "–";
  };
  return { id, node, show };
}

// The list tells names only, so each collection is asked for its figures, a few at a time.
async function describeAll(rows, api, signal) {
  const waiting = [...rows];
  const ask = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        next.show(await api.call("DescribeCollection", { CollectionId: next.id }, signal));
      } catch {
        if (signal.aborted) return;
        next.show(null);
      }
    }
  };
  await Promise.all(Array.from({ length: DESCRIBED_AT_ONCE }, ask));
}
