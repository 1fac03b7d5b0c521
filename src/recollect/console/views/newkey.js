// A new access key: for whom, what it may do, and its secret, shown once.

import { copyButton } from "../clipboard.js";
import { openDialog } from "../dialog.js";
import { element, field, fill, select } from "../element.js";
import { failure } from "../failure.js";
import { STARTERS, document as policyDocument } from "./starters.js";

const LIVES = [
  ["", "until it is deleted"],
  ["3600", "one hour"],
  ["86400", "one day"],
  ["2592000", "thirty days"],
];
const SECRETS = {
  AccessKeyId: "Access key ID",
  SecretAccessKey: "Secret access key",
  SessionToken: "Session token",
  BearerToken: "Bearer key",
};

/** The form of a new key. */
export function creation({ api, signal }, list) {
  const problem = element("div");
  const name = element("input", {
    type: "text",
    required: true,
    maxlength: 64,
    pattern: "[a-zA-Z0-9+=,.@_\\-]+",
    title: "Letters, digits and + = , . @ _ - only",
    spellcheck: "false",
    autocomplete: "off",
  });
  const kind = select(
    [
      ["SIGV4", "signs (AWS SDKs)"],
      ["BEARER", "bearer (curl)"],
    ],
    "SIGV4",
  );
  const life = select(LIVES, "");
  const starter = select(
    Object.entries(STARTERS).map(([key, { text }]) => [key, text]),
    "search",
  );
  const policy = editor(policyDocument("search"), { required: true });
  starter.addEventListener("change", () => {
    policy.value = policyDocument(starter.value);
  });

  async function create() {
    problem.replaceChildren();
    try {
      const made = await api.call(
        "CreateAccessKey",
        {
          UserName: name.value,
          Kind: kind.value,
          Policies: [policy.value],
          ExpiresInSeconds: life.value ? Number(life.value) : undefined,
        },
        signal,
      );
      name.value = "";
      list.first();
      shown(made);
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  return element(
    "section.card",
    { "aria-labelledby": "new-key" },
    element("h2", { id: "new-key" }, "A new key"),
    element(
      "form.stack",
      { on: { submit: (event) => (event.preventDefault(), create()) } },
      element(
        "div.row.top",
        {},
        field("User", name, "Whose key it is: a person or a program. Stands in the audit log."),
        field("Kind", kind),
        field("Lives", life),
      ),
      field("Start from", starter),
      field("Policy", policy, "An IAM policy document. Replace the last * by a collection's name."),
      problem,
      element("div.actions", {}, element("button", { type: "submit" }, "Create the key")),
    ),
  );
}

/** Show a new key's secret, which no call answers again. */
function shown(made) {
  const entries = Object.entries(SECRETS)
    .filter(([member]) => made[member])
    .map(([member, title]) => [
      element("dt", {}, title),
      element(
        "dd",
        {},
        element(
          "span.id",
          {},
          element("code", {}, made[member]),
          copyButton(made[member], title.toLowerCase()),
        ),
      ),
    ]);
  openDialog(
    `The key of ${made.UserName}`,
    [
      element(
        "p",
        {},
        element("strong", {}, "Copy it now: the secret is shown this once."),
        " The server keeps it sealed and tells it to nobody again.",
      ),
      element("dl", {}, entries),
    ],
    [],
    "I have it",
  );
}

/** A field for a policy document. */
export function editor(text, attributes) {
  const node = element("textarea", { rows: 12, spellcheck: "false", ...attributes });
  node.value = text;
  return node;
}
