// Faces or users that resemble one that is enrolled.

import { element, fill } from "../element.js";
import { failure } from "../failure.js";
import { MATCHES_FIRST, matchList, nextLimit } from "../matches.js";

/** Search with an enrolled face ({FaceId}) or user ({UserId}) and show what comes. */
export function lookalikes(page, collection, probe) {
  const { api, about, signal } = page;
  const noun = probe.UserId ? "users" : "faces";
  const matches = matchList(about, collection, noun);
  const problem = element("div");

  async function find(limit) {
    const asked = { CollectionId: collection.id, ...probe };
    try {
      const answer =
        noun === "users"
          ? await api.call(
              "SearchUsers",
              { ...asked, UserMatchThreshold: 0, MaxUsers: limit },
              signal,
            )
          : await api.call(
              "SearchFaces",
              { ...asked, FaceMatchThreshold: 0, MaxFaces: limit },
              signal,
            );
      const found = noun === "users" ? answer.UserMatches : answer.FaceMatches;
      const more = nextLimit(limit, found.length, noun);
      matches.show(found, noun, more && (() => find(more)));
    } catch (error) {
      if (!signal.aborted) fill(problem, failure(error));
    }
  }
  find(MATCHES_FIRST);
  return element("div", {}, problem, matches.node);
}
