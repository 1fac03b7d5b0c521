// Giving faces to a user: which user, how alike they must be, and what came of it.

import { announce } from "../clipboard.js";
import { openDialog } from "../dialog.js";
import { button, element, field } from "../element.js";
import { failure } from "../failure.js";
import { counted } from "../words.js";

const AT_ONCE_MAX = 100;

export const USER_ID = "[a-zA-Z0-9_.\\-:]+";

/**
 * Ask for a user and associate faces with it.
 *
 * @param {string | null} [userId] the user, where it is settled.
 * @returns {Promise<boolean>} whether anything was associated.
 */
export async function associate(page, collection, faceIds, userId = null) {
  const { api, signal } = page;
  const name = element("input", {
    type: "text",
    required: true,
    maxlength: 128,
    pattern: USER_ID,
    title: "Letters, digits and _ . - : only",
    spellcheck: "false",
    autocomplete: "off",
  });
  if (userId !== null) {
    name.value = userId;
    name.readOnly = true;
  }
  const threshold = element("input.short", {
    type: "number",
    min: 0,
    max: 100,
    step: "any",
    required: true,
  });
  threshold.value = 75;
  const outcome = element("div");
  const submit = button("Associate", "", send);
  let changed = false;

  async function send() {
    if (![name, threshold].every((input) => input.reportValidity())) return;
    submit.disabled = true;
    outcome.replaceChildren();
    try {
      for (let start = 0; start < faceIds.length; start += AT_ONCE_MAX) {
        const answer = await api.call(
          "AssociateFaces",
          {
            CollectionId: collection.id,
            UserId: name.value,
            FaceIds: faceIds.slice(start, start + AT_ONCE_MAX),
            UserMatchThreshold: threshold.valueAsNumber,
          },
          signal,
        );
        changed ||= answer.AssociatedFaces.length > 0;
        outcome.append(result(answer));
      }
      submit.remove();
    } catch (error) {
      submit.disabled = false;
      if (!signal.aborted) outcome.append(failure(error));
    }
  }

  const dialog = openDialog(
    `Associate ${counted(faceIds.length, "face")}`,
    [
      field("User", name, "A user that exists; make one on the Users tab."),
      field(
        "UserMatchThreshold",
        threshold,
        "A face less like the user's faces so far is refused. A user's first face is always taken.",
      ),
      outcome,
    ],
    [submit],
  );
  await dialog.closed;
  if (changed) announce(`Associated faces with ${name.value}.`);
  return changed;
}

function result({ AssociatedFaces, UnsuccessfulFaceAssociations }) {
  return element(
    "div",
    { role: "status" },
    element("p", {}, `${counted(AssociatedFaces.length, "face")} associated.`),
    element(
      "ul.plain",
      {},
      UnsuccessfulFaceAssociations.map((face) => element("li", {}, refusal(face))),
    ),
  );
}

function refusal({ FaceId, UserId, Confidence, Reasons }) {
  if (Reasons.includes("LOW_MATCH_CONFIDENCE")) {
    return `${FaceId} resembles the user by ${Confidence.toFixed(1)} only.`;
  }
  if (Reasons.includes("ASSOCIATED_TO_A_DIFFERENT_USER")) return `${FaceId} belongs to ${UserId}.`;
  return `${FaceId} is not in this collection any more.`;
}
