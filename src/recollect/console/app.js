// The console: who is signed in, which page is shown, what the last call was.

import { Api } from "./api.js";
import { announce } from "./clipboard.js";
import { button, element, fill } from "./element.js";
import { failure } from "./failure.js";
import { link, parts } from "./route.js";
import { forget, kept } from "./session.js";
import { access } from "./views/access.js";
import { audit } from "./views/audit.js";
import { collection } from "./views/collection.js";
import { collections } from "./views/collections.js";
import { compare } from "./views/compare.js";
import { reference } from "./views/reference.js";
import { signIn } from "./views/signin.js";

const PAGES = [
  { name: "collections", text: "Collections" },
  { name: "compare", text: "Compare" },
  { name: "access", text: "Access", needs: "ListAccessKeys" },
  { name: "audit", text: "Audit", needs: "ReadAudit" },
  { name: "api", text: "API" },
];

const root = document.getElementById("main");
const navigation = document.getElementById("navigation");
const identity = document.getElementById("identity");
const footer = document.getElementById("last-call");
let leaving = new AbortController();
let api = null;

const about = await describe();
document.getElementById("version").textContent = about.version
  ? `recollect ${about.version}`
  : "recollect";
const credentials = kept();
if (credentials) enter(new Api(credentials));
window.addEventListener("hashchange", () => {
  show();
  root.focus({ preventScroll: true });
});
for (const event of ["dragover", "drop"]) {
  // A file that misses its place must not replace the page.
  window.addEventListener(event, (happened) => happened.preventDefault());
}
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address behind the hash names a page, so the link moves the focus and not the address.
  event.preventDefault();
  root.focus();
});
show();

/** What the server says of itself; a server that says nothing is served as well. */
async function describe() {
  try {
    const response = await fetch(new URL("about.json", import.meta.url), { credentials: "omit" });
    const said = response.ok ? await response.json() : {};
    return said && typeof said === "object" ? said : {};
  } catch {
    return {};
  }
}

function enter(entered) {
  api = entered;
  api.addEventListener("answer", ({ detail }) => {
    footer.textContent =
      `${detail.operation}: ${detail.status} in ${Math.round(detail.ms)} ms` +
      (detail.requestId ? `, request ${detail.requestId}` : "");
  });
}

function leave() {
  forget();
  api = null;
  footer.textContent = "";
  show();
  announce("Signed out.");
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const path = parts();
  const place = element("div.page");
  fill(root, place);
  drawBar(path[0] ?? "collections");
  if (api && !api.caller.Arn) {
    try {
      await api.identify();
    } catch (error) {
      if (!signal.aborted) fill(place, failure(error));
      return;
    }
    if (signal.aborted) return;
    drawBar(path[0] ?? "collections");
  }
  if (api === null) {
    title("Sign in");
    signIn(place, about, (entered) => {
      enter(entered);
      show();
    });
    return;
  }
  const page = { root: place, api, about, signal, title };
  try {
    await view(page, path);
  } catch (error) {
    if (!signal.aborted) fill(place, failure(error));
  }
  if (!signal.aborted) window.scrollTo(0, 0);
}

function view(page, [name = "collections", ...rest]) {
  if (name === "collections" && rest.length) return collection(page, ...rest);
  if (name === "collections") return collections(page);
  if (name === "compare") return compare(page);
  if (name === "access") return access(page);
  if (name === "audit") return audit(page);
  if (name === "api") return reference(page);
  title("Not found");
  fill(page.root, element("h1", {}, "There is no such page"));
  return null;
}

function title(text) {
  document.title = `${text} · recollect`;
}

function drawBar(current) {
  fill(
    navigation,
    api === null
      ? null
      : PAGES.filter(({ needs }) => !needs || api.caller.Administration.includes(needs)).map(
          ({ name, text }) =>
            element(
              "a",
              { href: link(name), "aria-current": name === current ? "page" : null },
              text,
            ),
        ),
  );
  fill(
    identity,
    api === null
      ? null
      : [element("span.who", {}, who(api.credentials)), button("Sign out", "quiet", leave)],
  );
}

function who({ kind, keyId, bearer }) {
  if (kind === "key") return keyId;
  return kind === "bearer" ? `bearer ${bearer.split(".")[1] ?? "key"}` : "without a key";
}
