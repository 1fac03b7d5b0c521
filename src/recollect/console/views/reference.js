// The API as its description states it: every operation, with a form that calls it.

import { ROOT } from "../api.js";
import { button, element, field, fill, select } from "../element.js";
import { failure } from "../failure.js";
import { requestOf } from "../picture.js";
import { table } from "../table.js";

/** Stands in the form where the bytes of the chosen picture go, which are too long to show. */
const PICTURE = "the chosen picture";

/** Show the page. */
export async function reference(page) {
  const { api, signal, root } = page;
  page.title("API");
  const place = element("div");
  fill(
    root,
    element("h1", {}, "API"),
    element(
      "p.lead",
      {},
      "Any Rekognition client works here after a change of its endpoint URL. Without one, post " +
        "JSON to the addresses below.",
    ),
    element("p", {}, "Endpoint: ", element("code", {}, ROOT.href)),
    place,
  );

  let description;
  try {
    const response = await fetch(new URL("openapi.json", ROOT), { signal, credentials: "omit" });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    description = await response.json();
  } catch (error) {
    if (signal.aborted) return;
    fill(place, element("p.hint", {}, `This server gives no openapi.json (${error.message}).`));
    return;
  }

  const operations = operationsOf(description);
  const shown = element("div");
  const choice = select([...operations.keys()], operations.keys().next().value);
  choice.addEventListener("change", () => fill(shown, form(operations.get(choice.value))));
  fill(
    place,
    element("section.card", { "aria-label": "Try it" }, field("Operation", choice), shown),
  );
  fill(shown, form(operations.get(choice.value)));

  function form({ path, operation }) {
    const { schema = {}, example = {} } = bodyOf(operation);
    const body = element("textarea", { rows: 10, spellcheck: "false" });
    let bytes = "";
    body.value = JSON.stringify(example, (name, value) => (name === "Bytes" ? PICTURE : value), 2);
    const chooser = element("input", { type: "file", accept: "image/*" });
    chooser.addEventListener("change", async () => {
      outcome.replaceChildren();
      try {
        bytes = (await requestOf(chooser.files[0])).Bytes;
      } catch (error) {
        fill(outcome, failure(error));
      }
    });
    const outcome = element("div", { role: "status" });
    const send = button("Send", "", async () => {
      send.disabled = true;
      fill(outcome, element("p", {}, "Sending …"));
      try {
        fill(outcome, await answer(path, body.value.replaceAll(PICTURE, bytes)));
      } catch (error) {
        if (!signal.aborted) fill(outcome, failure(error));
      } finally {
        send.disabled = false;
      }
    });
    return element(
      "div",
      {},
      element("p", {}, operation.summary ?? operation.description ?? ""),
      members(description, resolved(description, schema)),
      body.value.includes(PICTURE) ? field("Picture", chooser, "Sent as base64 in Bytes.") : null,
      field(`POST ${path}`, body),
      element("div.actions", {}, send),
      outcome,
    );
  }

  async function answer(path, body) {
    const url = new URL(path.replace(/^\//, ""), ROOT);
    const headers = { "content-type": "application/json" };
    const response = await api.post(path, url, headers, body, signal);
    const text = await response.text();
    return element(
      "div",
      {},
      element("p", {}, "HTTP ", element("strong", {}, response.status)),
      element("pre", { tabindex: 0, "aria-label": "Answer" }, indented(text)),
    );
  }
}

function operationsOf({ paths }) {
  const found = Object.entries(paths)
    .filter(([, methods]) => methods.post)
    .map(([path, methods]) => [path.split("/").pop(), { path, operation: methods.post }])
    .filter(([name]) => name !== "");
  return new Map(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function bodyOf(operation) {
  return operation.requestBody?.content?.["application/json"] ?? {};
}

function resolved(description, schema) {
  const name = schema.$ref?.split("/").pop();
  return name === undefined ? schema : (description.components?.schemas?.[name] ?? {});
}

function members(description, { properties = {}, required = [] }) {
  const rows = Object.entries(properties).map(([name, schema]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("code", {}, name)),
      element("td", { "data-label": "Type" }, typeOf(resolved(description, schema))),
      element(
        "td",
        { "data-label": "Rules" },
        rules(resolved(description, schema), required.includes(name)),
      ),
    ),
  );
  if (!rows.length) return element("p.hint", {}, "It takes no parameters.");
  return table(["Member", "Type", "Rules"], rows);
}

function typeOf({ type, enum: values }) {
  if (values) return values.join(", ");
  return type ?? "object";
}

function rules(schema, required) {
  const { minLength, maxLength, minimum, maximum, minItems, maxItems, pattern } = schema;
  return [
    required ? "required" : null,
    between(minLength, maxLength, "characters"),
    between(minimum, maximum, ""),
    between(minItems, maxItems, "entries"),
    pattern ? `matches ${pattern}` : null,
  ]
    .filter(Boolean)
    .join("; ");
}

function between(low, high, unit) {
  if (low === undefined && high === undefined) return null;
  if (high === undefined) return `at least ${low} ${unit}`.trim();
  return `${low ?? 0} to ${high} ${unit}`.trim();
}

function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
