// The form that enrols the faces of the picture on the page.

import { announce, copyButton } from "../clipboard.js";
import { button, element, field, fill, select } from "../element.js";
import { failure } from "../failure.js";
import { overlay } from "../overlay.js";

export const QUALITY_FILTERS = ["AUTO", "NONE", "LOW", "MEDIUM", "HIGH"];
export const EXTERNAL_IMAGE_ID = /^[a-zA-Z0-9_.\-:]{1,255}$/;

/** Why a face was not enrolled, in words. */
export const REASONS = {
  EXCEEDS_MAX_FACES: "more faces than were asked for",
  EXTREME_POSE: "turned too far away",
  LOW_BRIGHTNESS: "too dark",
  LOW_SHARPNESS: "too blurred",
  LOW_CONFIDENCE: "hardly a face",
  SMALL_BOUNDING_BOX: "too small",
  LOW_FACE_QUALITY: "too poor to be recognised",
};

/** A file's name as an ExternalImageId: without its ending, other characters become "_". */
export function idOf(fileName) {
  const stem = fileName.replace(/\.[a-zA-Z0-9]{1,5}$/, "") || fileName;
  return stem
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/[^a-zA-Z0-9_.\-:]+/g, "_")
    .slice(0, 255);
}

/**
 * Build the form.
 *
 * @param {{page: object, collection: object, enrolled: (count: number) => void}} options
 * @returns {{node: HTMLElement, begin: (picture: object) => void}}
 */
export function enrolment({ page, collection, enrolled }) {
  const { api, signal } = page;
  const name = element("input", {
    type: "text",
    maxlength: 255,
    pattern: "[a-zA-Z0-9_.\\-:]+",
    spellcheck: "false",
    autocomplete: "off",
  });
  const count = element("input.short", { type: "number", min: 1, max: 100, required: true });
  count.value = 1;
  const filter = select(QUALITY_FILTERS, "AUTO");
  const submit = element("button", { type: "submit" }, "Enrol");
  const outcome = element("div", { role: "status" });
  let picture = null;

  const form = element(
    "form",
    { on: { submit: (event) => (event.preventDefault(), enrol()) } },
    field(
      "ExternalImageId",
      name,
      "Your own name for it: letters, digits and _ . - : only. May be empty.",
    ),
    element(
      "div.row.top",
      {},
      field("MaxFaces", count, "The largest faces first."),
      field("QualityFilter", filter, "Faces below it are not enrolled."),
    ),
    element("div.actions", {}, submit),
  );

  async function enrol() {
    submit.disabled = true;
    fill(outcome, element("p", {}, "Enrolling …"));
    const shown = picture;
    try {
      const params = {
        CollectionId: collection.id,
        Image: await shown.request(),
        MaxFaces: count.valueAsNumber,
        QualityFilter: filter.value,
      };
      if (name.value) params.ExternalImageId = name.value;
      const answer = await api.call("IndexFaces", params, signal);
      fill(outcome, result(answer, shown));
      announce(`Enrolled ${answer.FaceRecords.length} of the picture's faces.`);
      enrolled(answer.FaceRecords.length);
    } catch (error) {
      if (!signal.aborted) fill(outcome, failure(error));
    } finally {
      submit.disabled = false;
    }
  }

  return {
    node: element(
      "section.card",
      { "aria-labelledby": "enrol-title" },
      element("h2", { id: "enrol-title" }, "Enrol this picture"),
      form,
      outcome,
    ),
    begin(received) {
      picture = received;
      name.value = idOf(received.name);
      outcome.replaceChildren();
    },
  };
}

function result({ FaceRecords, UnindexedFaces }, picture) {
  if (!FaceRecords.length && !UnindexedFaces.length) {
    return element("p", {}, "No face was found, so nothing was enrolled.");
  }
  const drawn = [
    ...FaceRecords.map(({ Face }) => ({ box: Face.BoundingBox, kind: "match", label: "Enrolled" })),
    ...UnindexedFaces.map(({ FaceDetail, Reasons }) => ({
      box: FaceDetail.BoundingBox,
      kind: "refused",
      label: `Not enrolled: ${reasons(Reasons)}`,
    })),
  ];
  return element(
    "div",
    {},
    drawn.length > 1 ? overlay(picture, drawn) : null,
    element(
      "ol.plain",
      {},
      FaceRecords.map(({ Face }, index) =>
        element(
          "li",
          {},
          drawn.length > 1 ? `${index + 1} enrolled as ` : "Enrolled as ",
          element(
            "span.id",
            {},
            element("code", {}, Face.FaceId),
            copyButton(Face.FaceId, "FaceId"),
          ),
        ),
      ),
      UnindexedFaces.map(({ Reasons }, index) =>
        element(
          "li",
          {},
          drawn.length > 1 ? `${FaceRecords.length + index + 1} not enrolled: ` : "Not enrolled: ",
          reasons(Reasons),
        ),
      ),
    ),
  );
}

/** Reasons as one phrase. */
export function reasons(codes) {
  return codes.map((code) => REASONS[code] ?? code).join(", ");
}
