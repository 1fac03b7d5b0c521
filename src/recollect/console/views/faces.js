// The faces of a collection: pages, filters, look-alikes, association, deletion.

import { announce } from "../clipboard.js";
import { confirmed, openDialog } from "../dialog.js";
import { button, element, field, fill, select } from "../element.js";
import { faceList } from "../facelist.js";
import { failure } from "../failure.js";
import { pages } from "../pages.js";
import { counted } from "../words.js";
import { associate } from "./association.js";
import { lookalikes } from "./lookalikes.js";

const PAGE_SIZES = ["20", "100", "1000"];

/** Build the page. */
export function faces(page, collection) {
  const { api, signal } = page;
  const chosen = new Set();
  const problem = element("div");
  const bar = element("div.actions", { role: "group", "aria-label": "Chosen faces" });
  const size = select(PAGE_SIZES, PAGE_SIZES[0]);
  size.addEventListener("change", () => list.first());
  const userId = element("input", { type: "text", maxlength: 128, spellcheck: "false" });
  const filter = element(
    "form.row",
    { on: { submit: (event) => (event.preventDefault(), list.first()) } },
    field("Only of the user", userId),
    field("Faces per page", size),
    element("div.actions", {}, element("button.quiet", { type: "submit" }, "Filter")),
  );

  const list = pages({
    signal,
    ask(token) {
      chosen.clear();
      drawBar();
      const asked = { CollectionId: collection.id, MaxResults: Number(size.value) };
      if (userId.value) asked.UserId = userId.value;
      return api.call("ListFaces", { ...asked, NextToken: token }, signal);
    },
    draw: ({ Faces }) =>
      Faces.length ? faceList(Faces, collection.id, chosen, drawBar, similar) : empty(userId.value),
  });

  function similar(face) {
    const look = () =>
      openDialog("Faces like this one", lookalikes(page, collection, { FaceId: face.FaceId }), []);
    return [
      button("Find similar", "quiet", look, {
        "aria-label": `Find similar to ${face.ExternalImageId ?? face.FaceId}`,
      }),
    ];
  }

  function drawBar() {
    const none = chosen.size === 0;
    fill(
      bar,
      element(
        "span",
        { role: "status" },
        none ? "No face chosen" : `${counted(chosen.size, "face")} chosen`,
      ),
      button("Associate with a user", "quiet", give, { disabled: none }),
      button("Delete", "danger", remove, { disabled: none }),
    );
  }

  async function give() {
    problem.replaceChildren();
    const done = await associate(page, collection, [...chosen]);
    if (done) list.again();
  }

  async function remove() {
    const faceIds = [...chosen];
    const yes = await confirmed(
      `Delete ${counted(faceIds.length, "face")}?`,
      "Their templates are erased at once. Only enrolling the pictures again brings them back.",
      "Delete",
    );
    if (!yes) return;
    problem.replaceChildren();
    try {
      const params = { CollectionId: collection.id, FaceIds: faceIds };
      const answer = await api.call("DeleteFaces", params, signal);
      announce(`Deleted ${counted(answer.DeletedFaces.length, "face")}.`);
      collection.FaceCount -= answer.DeletedFaces.length;
      collection.show();
      const refused = answer.UnsuccessfulFaceDeletions;
      if (refused.length) fill(problem, notDeleted(refused));
      await list.again();
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }

  drawBar();
  list.first();
  return element("section.card", { "aria-label": "Faces" }, filter, bar, problem, list.node);
}

function empty(userId) {
  return element(
    "div.empty",
    {},
    element("p.lead", {}, userId ? "This user has no face here." : "No face is enrolled yet."),
    element(
      "p",
      {},
      userId ? "Clear the filter to see all." : "Enrol one on the Search tab, or many on Import.",
    ),
  );
}

function notDeleted(refused) {
  const text = ({ FaceId, UserId, Reasons }) =>
    Reasons.includes("FACE_NOT_FOUND")
      ? `${FaceId} was gone already.`
      : `${FaceId} belongs to the user ${UserId}. Disassociate it first.`;
  return element(
    "div.failure",
    { role: "alert" },
    element("strong", {}, `${counted(refused.length, "face")} not deleted`),
    element(
      "ul.plain",
      {},
      refused.map((face) => element("li", {}, text(face))),
    ),
  );
}
