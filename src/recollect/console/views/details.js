// What else there is to know of a collection: its name in policies, its tags.

import { announce, copyButton } from "../clipboard.js";
import { button, element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { table } from "../table.js";
import { modelName } from "../words.js";

/** Build the page. */
export function details(page, collection) {
  const { api, about, signal } = page;
  if (collection.CollectionARN === null) {
    return element("p", {}, "This key's policy does not allow DescribeCollection.");
  }
  const named = { ResourceArn: collection.CollectionARN };
  const problem = element("div");
  const listed = element("div");
  const key = element("input", {
    type: "text",
    required: true,
    maxlength: 128,
    spellcheck: "false",
  });
  const value = element("input", { type: "text", maxlength: 256, spellcheck: "false" });

  async function load() {
    try {
      const { Tags } = await api.call("ListTagsForResource", named, signal);
      fill(
        listed,
        Object.keys(Tags).length ? tags(Tags, untag) : element("p.hint", {}, "It has no tags."),
      );
    } catch (error) {
      if (!signal.aborted) fill(listed, failure(error));
    }
  }

  async function change(operation, params, said) {
    problem.replaceChildren();
    try {
      await api.call(operation, { ...named, ...params }, signal);
      announce(said);
      await load();
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }
  const untag = (name) => change("UntagResource", { TagKeys: [name] }, "Removed the tag.");
  const tag = () => change("TagResource", { Tags: { [key.value]: value.value } }, "Set the tag.");

  load();
  return element(
    "section.card",
    { "aria-label": "Details" },
    element(
      "dl",
      {},
      element("dt", {}, "Amazon Resource Name"),
      element(
        "dd",
        {},
        element(
          "span.id",
          {},
          element("code", {}, collection.CollectionARN),
          copyButton(collection.CollectionARN, "name"),
        ),
      ),
      element("dt", {}, "Model"),
      element(
        "dd",
        {},
        modelName(about, collection.FaceModelVersion),
        ", for this collection's whole life",
      ),
    ),
    element("h2", {}, "Tags"),
    element("p.hint", {}, "Policies can speak of them as aws:ResourceTag."),
    listed,
    element(
      "form.row",
      { on: { submit: (event) => (event.preventDefault(), tag()) } },
      field("Key", key),
      field("Value", value),
      element("div.actions", {}, element("button", { type: "submit" }, "Set the tag")),
    ),
    problem,
  );
}

function tags(found, untag) {
  const remove = (name) =>
    button("Remove", "quiet", () => untag(name), { "aria-label": `Remove the tag ${name}` });
  const rows = Object.entries(found).map(([name, content]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", { "data-label": "Value" }, content),
      element("td.end", {}, remove(name)),
    ),
  );
  return table(["Key", "Value", ""], rows);
}
