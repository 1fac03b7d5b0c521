// Signing in: with an access key that signs, or with a bearer key that is sent.

import { Api } from "../api.js";
import { button, element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { keep } from "../session.js";

const REGION_DEFAULT = "us-east-1";

/**
 * Show the form.
 *
 * @param {HTMLElement} root
 * @param {object} about the server's description.
 * @param {(api: Api) => void} entered called once the server knows who it is.
 */
export function signIn(root, about, entered) {
  const problem = element("div");
  const keyId = input("text", "username");
  const secret = input("password", "current-password");
  const region = input("text", "off", false);
  region.value = about.region ?? REGION_DEFAULT;
  const token = input("text", "off", false);
  const bearer = input("password", "off");
  const stay = element("input", { type: "checkbox" });

  const forms = {
    key: element(
      "div",
      {},
      field("Access key ID", keyId),
      field("Secret access key", secret, "It signs each request in this page and never leaves it."),
      element(
        "details",
        {},
        element("summary", {}, "Region and session token"),
        field("Region", region, "Part of the signature; any will do unless the server fixes it."),
        field("Session token", token, "Only for temporary keys."),
      ),
    ),
    bearer: element(
      "div",
      {},
      field("Bearer key", bearer, "It is sent with each request, so use it over HTTPS only."),
    ),
  };
  let kind = "key";
  const tabs = [tab("key", "Access key"), tab("bearer", "Bearer key")];
  const place = element("div");
  const submit = element("button", { type: "submit" }, "Sign in");

  function tab(name, text) {
    return element(
      "button",
      { type: "button", "data-kind": name, on: { click: () => choose(name) } },
      text,
    );
  }

  function choose(name) {
    kind = name;
    for (const each of tabs) each.setAttribute("aria-pressed", each.dataset.kind === name);
    fill(place, forms[name]);
    problem.replaceChildren();
  }

  async function enter(credentials) {
    submit.disabled = true;
    problem.replaceChildren();
    const api = new Api(credentials);
    try {
      await api.identify();
    } catch (error) {
      fill(problem, failure(error));
      return;
    } finally {
      submit.disabled = false;
    }
    if (stay.checked) keep(credentials);
    entered(api);
  }

  function submitted(event) {
    event.preventDefault();
    enter(
      kind === "bearer"
        ? { kind, bearer: bearer.value.trim() }
        : {
            kind,
            keyId: keyId.value.trim(),
            secret: secret.value.trim(),
            token: token.value.trim() || undefined,
            region: region.value.trim() || REGION_DEFAULT,
          },
    );
  }

  choose("key");
  fill(
    root,
    element(
      "section.card.narrow",
      { "aria-labelledby": "sign-in-title" },
      element("h1", { id: "sign-in-title" }, "Sign in"),
      element(
        "p",
        {},
        "This console speaks to the server as any Rekognition client does: with a key.",
      ),
      about.no_auth
        ? element(
            "div.failure",
            { role: "alert" },
            element(
              "p",
              {},
              "This server runs without keys: anybody who reaches it may do anything.",
            ),
            button("Go on without a key", "quiet", () => enter({ kind: "nobody" })),
          )
        : null,
      crypto.subtle
        ? element(
            "form",
            { on: { submit: submitted } },
            element("div.switch", { role: "group", "aria-label": "Kind of key" }, tabs),
            place,
            element("label.check", {}, stay, "Stay signed in until this tab is closed"),
            problem,
            element("div.actions", {}, submit),
          )
        : insecure(),
      element(
        "details",
        {},
        element("summary", {}, "Where do I find a key?"),
        element(
          "p",
          {},
          "The first start of the server wrote a root key into its data folder, as:",
        ),
        element("p", {}, element("code", {}, "root-credentials.json")),
        element("p", {}, "Better make a key of your own, with a policy that allows what you need:"),
        element("p", {}, element("code", {}, "recollect key create --name NAME --policy FILE")),
      ),
    ),
    element(
      "p.hint.narrow",
      {},
      "recollect keeps templates of faces, never pictures. This console stores nothing: the key " +
        "stays in the page's memory unless you ask for more, and a picture is gone when you leave.",
    ),
  );
  keyId.focus();
}

function input(type, autocomplete, required = true) {
  return element("input", {
    type,
    autocomplete,
    required,
    spellcheck: "false",
    autocapitalize: "off",
  });
}

function insecure() {
  return element(
    "div.failure",
    { role: "alert" },
    element("strong", {}, "This page came over plain HTTP from another computer."),
    element(
      "p",
      {},
      "Browsers then offer neither signatures nor a camera, and anybody in between could read the " +
        "pictures. Open it over HTTPS, or on the server itself as localhost, for example through ",
      element("code", {}, "ssh -L 8080:localhost:8080"),
      ".",
    ),
  );
}
