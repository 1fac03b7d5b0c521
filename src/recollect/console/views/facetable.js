// What the detector says of each face of a picture.

import { element } from "../element.js";
import { table } from "../table.js";

const COLUMNS = ["Face", "Confidence", "Brightness", "Sharpness", "Yaw", "Pitch", "Roll"];

/** A table of detected faces, or nothing where there are none. */
export function faceTable(faces, searched = -1) {
  if (!faces.length) return null;
  return element(
    "div.scroll",
    { tabindex: 0, role: "region", "aria-label": "Detected faces" },
    table(
      COLUMNS,
      faces.map((face, index) => row(face, index, index === searched)),
      "compact.cards",
    ),
  );
}

function row({ Confidence, Quality, Pose }, index, searched) {
  const values = [
    ...[Confidence, Quality?.Brightness, Quality?.Sharpness].map(number),
    ...[Pose?.Yaw, Pose?.Pitch, Pose?.Roll].map(degrees),
  ];
  return element(
    searched ? "tr.searched" : "tr",
    {},
    element("th", { scope: "row" }, index + 1, searched ? " searched" : ""),
    values.map((value, at) => element("td", { "data-label": COLUMNS[at + 1] }, value)),
  );
}

function number(value) {
  return value === undefined ? "–" : value.toFixed(1);
}

function degrees(value) {
  return value === undefined ? "–" : `${Math.round(value)}°`;
}
