// The users of a collection: pages, and a new one.

import { announce } from "../clipboard.js";
import { element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { pages } from "../pages.js";
import { link } from "../route.js";
import { table } from "../table.js";
import { USER_ID } from "./association.js";

const PAGE = 50;
const STATUS = {
  ACTIVE: "active",
  CREATED: "without faces",
  UPDATING: "being updated",
  CREATING: "being made",
};

/** Build the page. */
export function users(page, collection) {
  const { api, signal } = page;
  const problem = element("div");
  const name = element("input", {
    type: "text",
    required: true,
    maxlength: 128,
    pattern: USER_ID,
    title: "Letters, digits and _ . - : only",
    spellcheck: "false",
    autocomplete: "off",
  });
  const list = pages({
    signal,
    ask: (token) =>
      api.call(
        "ListUsers",
        { CollectionId: collection.id, MaxResults: PAGE, NextToken: token },
        signal,
      ),
    draw: ({ Users }) => (Users.length ? userTable(Users, collection.id) : empty()),
  });

  async function create() {
    problem.replaceChildren();
    try {
      await api.call("CreateUser", { CollectionId: collection.id, UserId: name.value }, signal);
      announce(`Created ${name.value}.`);
      collection.UserCount += 1;
      location.hash = link("collections", collection.id, "users", name.value);
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  list.first();
  return element(
    "section.card",
    { "aria-label": "Users" },
    element(
      "form.row",
      { on: { submit: (event) => (event.preventDefault(), create()) } },
      field("Name of a new user", name),
      element("div.actions", {}, element("button", { type: "submit" }, "Create")),
    ),
    problem,
    list.node,
  );
}

function userTable(found, collectionId) {
  const rows = found.map(({ UserId, UserStatus }) => {
    const address = link("collections", collectionId, "users", UserId);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, element("a", { href: address }, UserId)),
      element("td", { "data-label": "Status" }, STATUS[UserStatus] ?? UserStatus),
    );
  });
  return table(["User", "Status"], rows);
}

function empty() {
  return element(
    "div.empty",
    {},
    element("p.lead", {}, "There is no user yet."),
    element("p", {}, "A user joins several faces of one person, which makes a search surer."),
  );
}
