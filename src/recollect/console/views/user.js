// One user: its faces, more of them, look-alikes, deletion.

import { announce } from "../clipboard.js";
import { confirmed, openDialog } from "../dialog.js";
import { button, element, fill } from "../element.js";
import { faceList } from "../facelist.js";
import { failure } from "../failure.js";
import { pages } from "../pages.js";
import { link } from "../route.js";
import { counted } from "../words.js";
import { associate } from "./association.js";
import { lookalikes } from "./lookalikes.js";

const FACES_MAX = 100;

/** Build the page. */
export function user(page, collection, userId) {
  const { api, signal } = page;
  const named = { CollectionId: collection.id, UserId: userId };
  const chosen = new Set();
  const problem = element("div");
  const bar = element("div.actions", { role: "group", "aria-label": "What to do" });

  const list = pages({
    signal,
    ask(token) {
      chosen.clear();
      drawBar();
      return api.call("ListFaces", { ...named, MaxResults: FACES_MAX, NextToken: token }, signal);
    },
    draw: ({ Faces }) =>
      Faces.length
        ? faceList(Faces, collection.id, chosen, drawBar)
        : element(
            "div.empty",
            {},
            element("p.lead", {}, "This user has no face yet, so no search finds it."),
          ),
  });

  function drawBar() {
    fill(
      bar,
      button("Add faces", "", add),
      button("Find similar users", "quiet", () =>
        openDialog(`Users like ${userId}`, lookalikes(page, collection, { UserId: userId }), []),
      ),
      button("Disassociate the chosen", "quiet", release, { disabled: chosen.size === 0 }),
      button("Delete the user", "danger", remove),
    );
  }

  async function add() {
    const faceIds = await pick(page, collection);
    if (faceIds.length && (await associate(page, collection, faceIds, userId))) list.first();
  }

  async function release() {
    problem.replaceChildren();
    try {
      const answer = await api.call(
        "DisassociateFaces",
        { ...named, FaceIds: [...chosen] },
        signal,
      );
      announce(`Disassociated ${counted(answer.DisassociatedFaces.length, "face")}.`);
      await list.first();
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  async function remove() {
    const yes = await confirmed(
      `Delete ${userId}?`,
      "The user goes; its faces stay in the collection and belong to nobody.",
      "Delete the user",
    );
    if (!yes) return;
    problem.replaceChildren();
    try {
      await api.call("DeleteUser", named, signal);
      announce(`Deleted ${userId}.`);
      location.hash = link("collections", collection.id, "users");
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  drawBar();
  list.first();
  return element(
    "section.card",
    { "aria-labelledby": "user-title" },
    element("h2", { id: "user-title" }, userId),
    bar,
    problem,
    list.node,
  );
}

/** Let the person pick faces of the collection; resolves to their FaceIds. */
async function pick(page, collection) {
  const { api, signal } = page;
  const chosen = new Set();
  const done = button("Take these", "", () => dialog.close("taken"), { disabled: true });
  const list = pages({
    signal,
    ask: (token) =>
      api.call(
        "ListFaces",
        { CollectionId: collection.id, MaxResults: 20, NextToken: token },
        signal,
      ),
    draw: ({ Faces }) => {
      const free = Faces.filter((face) => !face.UserId);
      if (!free.length)
        return element("p", {}, "Every face of this page belongs to a user already.");
      return faceList(free, collection.id, chosen, () => {
        done.disabled = chosen.size === 0;
        done.textContent = chosen.size ? `Take ${counted(chosen.size, "face")}` : "Take these";
      });
    },
  });
  list.first();
  const dialog = openDialog("Faces that belong to nobody", list.node, [done]);
  return (await dialog.closed) === "taken" ? [...chosen] : [];
}
