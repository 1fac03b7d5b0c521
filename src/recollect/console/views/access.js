// Access keys: who has one, what it may do, a new one, and the end of one.

import { announce, copyButton } from "../clipboard.js";
import { confirmed, openDialog } from "../dialog.js";
import { button, element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { pages } from "../pages.js";
import { table } from "../table.js";
import { counted, day } from "../words.js";
import { creation, editor } from "./newkey.js";
import { document as policyDocument } from "./starters.js";

const PAGE = 50;
const ROOT = "root";
const COLUMNS = ["User", "AccessKeyId", "Kind", "Status", "Created", "Ends", ""];

/** Show the page. */
export function access(page) {
  const { api, signal, root } = page;
  page.title("Access");
  const may = (operation) => api.caller.Administration.includes(operation);
  const problem = element("div");
  const list = pages({
    signal,
    ask: (token) => api.call("ListAccessKeys", { MaxResults: PAGE, NextToken: token }, signal),
    draw: ({ AccessKeys }) => table(COLUMNS, AccessKeys.map(row)),
  });

  function row(key) {
    // The server refuses these; a button that cannot work would only annoy.
    const fixed = key.UserName === ROOT || key.AccessKeyId === api.caller.AccessKeyId;
    const label = { "aria-label": `of ${key.UserName}, ${key.AccessKeyId}` };
    const named = (text) => ({ "aria-label": `${text} ${label["aria-label"]}` });
    const active = key.Status === "Active";
    const cell = (name, ...content) => element("td", { "data-label": name }, content);
    return element(
      "tr",
      {},
      element(
        "th",
        { scope: "row" },
        key.UserName,
        key.AccessKeyId === api.caller.AccessKeyId ? element("span.hint", {}, " (you)") : null,
      ),
      cell(
        "AccessKeyId",
        element(
          "span.id",
          {},
          element("code", {}, key.AccessKeyId),
          copyButton(key.AccessKeyId, "key id"),
        ),
      ),
      cell("Kind", key.Kind === "BEARER" ? "bearer" : "signs"),
      cell("Status", active ? "active" : "disabled"),
      cell("Created", day(key.CreateDate)),
      cell("Ends", key.ExpireDate ? day(key.ExpireDate) : "–"),
      element(
        "td.end",
        {},
        may("GetPolicies")
          ? button("Policies", "quiet", () => policies(key, fixed), named("Policies"))
          : null,
        may("UpdateAccessKey") && !fixed
          ? button(
              active ? "Disable" : "Enable",
              "quiet",
              () => change(key, active ? "Inactive" : "Active"),
              named(active ? "Disable the key" : "Enable the key"),
            )
          : null,
        may("DeleteAccessKey") && !fixed
          ? button("Delete", "quiet", () => remove(key), named("Delete the key"))
          : null,
      ),
    );
  }

  async function attempt(operation, params, said, place = problem) {
    place.replaceChildren();
    try {
      const answer = await api.call(operation, params, signal);
      if (said) announce(said);
      await list.again();
      return answer;
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error));
      return null;
    }
  }

  const change = (key, status) =>
    attempt(
      "UpdateAccessKey",
      { AccessKeyId: key.AccessKeyId, Status: status },
      status === "Active" ? "Enabled the key." : "Disabled the key.",
    );

  async function remove(key) {
    const yes = await confirmed(
      `Delete the key of ${key.UserName}?`,
      `${key.AccessKeyId} is refused from the next call on. Nothing brings it back.`,
      "Delete the key",
    );
    if (yes) await attempt("DeleteAccessKey", { AccessKeyId: key.AccessKeyId }, "Deleted the key.");
  }

  async function policies(key, fixed) {
    problem.replaceChildren();
    let found;
    try {
      found = (await api.call("GetPolicies", { AccessKeyId: key.AccessKeyId }, signal)).Policies;
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
      return;
    }
    const changeable = may("PutPolicies") && !fixed;
    const texts = element("div");
    const said = element("div");
    const add = (text) =>
      texts.append(
        field(`Policy ${texts.children.length + 1}`, editor(text, { readonly: !changeable })),
      );
    for (const text of found) add(indented(text));
    if (!found.length)
      texts.append(element("p.hint", {}, "It has no policy, so it may do nothing."));
    const save = button("Save", "", async () => {
      const Policies = [...texts.querySelectorAll("textarea")]
        .map(({ value }) => value.trim())
        .filter(Boolean);
      const params = { AccessKeyId: key.AccessKeyId, Policies };
      if (await attempt("PutPolicies", params, "Saved the policies.", said)) dialog.close("saved");
    });
    const more = button("Add a policy", "quiet", () => {
      texts.querySelector("p")?.remove();
      add(policyDocument("search"));
    });
    const dialog = openDialog(
      `What ${key.UserName} may do`,
      [element("p.hint", {}, counted(found.length, "policy document")), texts, said],
      changeable ? [save, more] : [],
    );
  }

  fill(
    root,
    element("h1", {}, "Access"),
    element(
      "p.lead",
      {},
      "Every call is made with a key, and may do what the key's policies allow: nothing else.",
    ),
    problem,
    list.node,
    may("CreateAccessKey") ? creation(page, list) : null,
  );
  return list.first();
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
