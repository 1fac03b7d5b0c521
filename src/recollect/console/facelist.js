// Enrolled faces in a table, to be read or to be chosen from.

import { copyButton } from "./clipboard.js";
import { element } from "./element.js";
import { link } from "./route.js";
import { table } from "./table.js";

/**
 * A table of faces with a box to tick in front of each.
 *
 * @param {object[]} faces
 * @param {string} collectionId
 * @param {Set<string>} chosen FaceIds ticked, changed in place.
 * @param {() => void} changed
 * @param {(face: object) => Node[]} [actions] what else can be done with one face.
 */
export function faceList(faces, collectionId, chosen, changed, actions = () => []) {
  const boxes = new Map(
    faces.map((face) => [
      face.FaceId,
      element("input", {
        type: "checkbox",
        "aria-label": `Choose ${face.ExternalImageId ?? face.FaceId}`,
      }),
    ]),
  );
  const all = element("input", {
    type: "checkbox",
    "aria-label": "Choose every face of this page",
  });
  for (const [faceId, box] of boxes) {
    box.checked = chosen.has(faceId);
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(faceId);
      else chosen.delete(faceId);
      changed();
    });
  }
  all.addEventListener("change", () => {
    for (const [faceId, box] of boxes) {
      box.checked = all.checked;
      if (all.checked) chosen.add(faceId);
      else chosen.delete(faceId);
    }
    changed();
  });
  const rows = faces.map((face) => row(face, collectionId, boxes.get(face.FaceId), actions(face)));
  return table([all, "ExternalImageId", "User", "FaceId", "Confidence", ""], rows);
}

function row(face, collectionId, box, actions) {
  return element(
    "tr",
    {},
    element("td.tick", {}, box),
    element("td", { "data-label": "ExternalImageId" }, face.ExternalImageId ?? "–"),
    element(
      "td",
      { "data-label": "User" },
      face.UserId
        ? element(
            "a",
            { href: link("collections", collectionId, "users", face.UserId) },
            face.UserId,
          )
        : "–",
    ),
    element(
      "td",
      { "data-label": "FaceId" },
      element("span.id", {}, element("code", {}, face.FaceId), copyButton(face.FaceId, "FaceId")),
    ),
    element("td", { "data-label": "Confidence" }, face.Confidence.toFixed(1)),
    element("td.end", {}, actions),
  );
}
