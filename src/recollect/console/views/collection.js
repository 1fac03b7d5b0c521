// One collection: its figures, and the tabs below them.

import { element, fill } from "../element.js";
import { failure } from "../failure.js";
import { link } from "../route.js";
import { counted, day, modelName } from "../words.js";
import { bulk } from "./bulk.js";
import { details } from "./details.js";
import { faces } from "./faces.js";
import { search } from "./search.js";
import { user } from "./user.js";
import { users } from "./users.js";

const TABS = [
  ["", "Search", search],
  ["faces", "Faces", faces],
  ["users", "Users", users],
  ["import", "Import", bulk],
  ["details", "Details", details],
];

/** Show a collection's page; `path` is what follows its name. */
export async function collection(page, id, tab = "", userId = null) {
  const { api, about, signal, root } = page;
  page.title(id);
  const figures = element("p.figures");
  const place = element("div");
  fill(
    root,
    element(
      "nav.crumbs",
      { "aria-label": "Where you are" },
      element("a", { href: link("collections") }, "Collections"),
    ),
    element("h1", {}, id),
    figures,
    element(
      "nav.tabs",
      { "aria-label": "Parts of the collection" },
      TABS.map(([name, text]) =>
        element(
          "a",
          {
            href: link("collections", id, ...(name ? [name] : [])),
            "aria-current": name === tab ? "page" : null,
          },
          text,
        ),
      ),
    ),
    place,
  );

  let described;
  try {
    described = await describe(api, id, signal);
  } catch (error) {
    fill(place, failure(error));
    return;
  }
  described.show = () => {
    if (described.FaceCount === null) return;
    const { FaceCount, UserCount, CreationTimestamp } = described;
    figures.textContent = [
      counted(FaceCount, "face"),
      counted(UserCount, "user"),
      `model ${modelName(about, described.FaceModelVersion)}`,
      `created ${day(CreationTimestamp)}`,
    ].join(" · ");
  };
  described.show();

  const view = TABS.find(([name]) => name === tab)?.[2];
  if (userId !== null && tab === "users") place.append(user(page, described, userId));
  else if (view) place.append(view(page, described));
  else place.append(element("p", {}, "There is no such page."));
}

// A key may be allowed to search a collection and not to describe it.
async function describe(api, id, signal) {
  try {
    return { id, ...(await api.call("DescribeCollection", { CollectionId: id }, signal)) };
  } catch (error) {
    if (error.code !== "AccessDeniedException") throw error;
    return { id, FaceCount: null, UserCount: null, FaceModelVersion: null, CollectionARN: null };
  }
}
