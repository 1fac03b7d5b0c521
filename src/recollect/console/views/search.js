// A collection's first page: search with a picture, and enrol it.

import { button, element, fill } from "../element.js";
import { failure } from "../failure.js";
import { intake } from "../intake.js";
import { MATCHES_FIRST, matchList, nextLimit } from "../matches.js";
import { around, faceAt, outOf, overlay } from "../overlay.js";
import { enrolment } from "./enrolment.js";
import { faceTable } from "./facetable.js";

/** So much of a face's size is kept around it when it is cut out to be searched alone. */
const MARGIN = 0.6;

/** Build the page of a collection. */
export function search(page, collection) {
  const { api, about, signal } = page;
  const state = { detected: [], box: null, chosen: null, kind: "faces", run: 0 };

  const place = intake({
    title:
      collection.FaceCount === 0
        ? "Nobody is enrolled here yet. Whose face comes first?"
        : "Whom are you looking for?",
    received: begin,
    signal,
  });
  const table = element("div");
  const matches = matchList(about, collection, "faces");
  const problem = element("div");
  const kinds = kindSwitch((kind) => {
    state.kind = kind;
    if (place.picture) find();
  });
  const enrol = enrolment({ page, collection, enrolled });
  enrol.node.hidden = true;

  async function begin() {
    Object.assign(state, { detected: [], box: null, chosen: null });
    enrol.node.hidden = false;
    enrol.begin(place.picture);
    draw();
    await Promise.all([detect(), find()]);
  }

  async function detect() {
    const { picture } = place;
    try {
      const answer = await api.call("DetectFaces", { Image: await picture.request() }, signal);
      if (picture !== place.picture) return;
      state.detected = answer.FaceDetails;
      draw();
    } catch (error) {
      // A key may be allowed to search and not to detect; the searched face is drawn anyway.
      if (!signal.aborted && error.code !== "AccessDeniedException") {
        if (!problem.hasChildNodes()) fill(problem, failure(error));
      }
    }
  }

  async function find(limit = MATCHES_FIRST) {
    const run = ++state.run;
    const { kind, chosen } = state;
    const region = chosen === null ? null : around(state.detected[chosen].BoundingBox, MARGIN);
    problem.replaceChildren();
    matches.clear("Searching …");
    state.box = null;
    let probe = place.picture;
    try {
      if (region) probe = await probe.cut(region);
      const asked = { CollectionId: collection.id, Image: await probe.request() };
      const answer = await SEARCH[kind](api, asked, limit, signal);
      if (run !== state.run) return;
      state.box = answer.box && (region ? outOf(region, answer.box) : answer.box);
      draw();
      const more = nextLimit(limit, answer.matches.length, kind);
      if (answer.box) matches.show(answer.matches, kind, more && (() => find(more)));
      else matches.clear("No face was found that could be searched.");
    } catch (error) {
      if (signal.aborted || run !== state.run) return;
      matches.clear();
      fill(problem, failure(error));
      draw();
    } finally {
      if (probe !== place.picture) probe.close();
    }
  }

  // The searched face is the one that the answer's box lies on, whatever was asked for.
  function draw() {
    const { detected, box } = state;
    const stray = box !== null && faceAt(detected, box) < 0;
    const faces = stray ? [...detected, { BoundingBox: box }] : detected;
    const searched = box === null ? -1 : faceAt(faces, box);
    const frames = faces.map((face, index) => ({
      box: face.BoundingBox,
      kind: index === searched ? "searched" : "plain",
      label: index === searched ? `Face ${index + 1}, searched` : `Search face ${index + 1}`,
    }));
    const choose = (index) => {
      if (index === searched || index >= detected.length) return;
      state.chosen = index;
      find();
    };
    place.show(overlay(place.picture, frames, choose));
    fill(table, faceTable(faces, searched));
  }

  function enrolled(count) {
    if (count === 0) return;
    collection.FaceCount += count;
    collection.show();
    find();
  }

  return element(
    "div.columns",
    {},
    element(
      "section.card",
      { "aria-label": "Picture" },
      place.node,
      table,
      element(
        "p.hint",
        {},
        "The picture goes to this server, is searched and forgotten. recollect keeps templates of " +
          "faces, never pictures, so none can be shown beside a match.",
      ),
    ),
    element(
      "div.stack",
      {},
      element(
        "section.card",
        { "aria-labelledby": "matches-title" },
        element("div.row", {}, element("h2", { id: "matches-title" }, "Matches"), kinds),
        problem,
        matches.node,
      ),
      enrol.node,
    ),
  );
}

const SEARCH = {
  async faces(api, asked, limit, signal) {
    const params = { ...asked, FaceMatchThreshold: 0, MaxFaces: limit };
    const answer = await api.call("SearchFacesByImage", params, signal);
    return { matches: answer.FaceMatches, box: answer.SearchedFaceBoundingBox };
  },
  async users(api, asked, limit, signal) {
    const params = { ...asked, UserMatchThreshold: 0, MaxUsers: limit };
    const answer = await api.call("SearchUsersByImage", params, signal);
    return {
      matches: answer.UserMatches,
      box: answer.SearchedFace?.FaceDetail.BoundingBox ?? null,
    };
  },
};

function kindSwitch(changed) {
  const buttons = ["faces", "users"].map((kind) =>
    button(kind === "faces" ? "Faces" : "Users", "", () => press(kind), {
      "data-kind": kind,
    }),
  );
  function press(kind) {
    for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.kind === kind);
    changed(kind);
  }
  for (const each of buttons) each.setAttribute("aria-pressed", each.dataset.kind === "faces");
  return element("div.switch", { role: "group", "aria-label": "What to search" }, buttons);
}
