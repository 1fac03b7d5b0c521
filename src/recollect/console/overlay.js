// Faces drawn over a picture.

import { append, element } from "./element.js";

/**
 * A picture with a frame around each face.
 *
 * @param {import("./picture.js").Picture} picture
 * @param {{box: object, kind: "plain" | "searched" | "match" | "refused", label: string}[]} faces
 *   boxes in ratios of the upright picture, which may reach beyond it.
 * @param {((index: number) => void) | null} choose called when a frame is clicked.
 */
export function overlay(picture, faces, choose = null) {
  const shown = element("img", { src: picture.image.src, alt: `Your picture ${picture.name}` });
  const stage = element("div.stage", {}, shown);
  faces.forEach((face, index) => append(stage, frame(face, index, choose)));
  return stage;
}

function frame({ box, kind, label }, index, choose) {
  const tag = element("span", {}, index + 1);
  const node = choose
    ? element("button.frame", { type: "button", on: { click: () => choose(index) } }, tag)
    : element("div.frame", { role: "img" }, tag);
  node.setAttribute("aria-label", label);
  node.title = label;
  node.classList.add(kind);
  for (const [property, value] of [
    ["left", box.Left],
    ["top", box.Top],
    ["width", box.Width],
    ["height", box.Height],
  ]) {
    node.style[property] = `${100 * value}%`;
  }
  return node;
}

/** How much two boxes cover each other: intersection over union, 0 to 1. */
export function cover(a, b) {
  const width = Math.min(a.Left + a.Width, b.Left + b.Width) - Math.max(a.Left, b.Left);
  const height = Math.min(a.Top + a.Height, b.Top + b.Height) - Math.max(a.Top, b.Top);
  const both = Math.max(0, width) * Math.max(0, height);
  return both / (a.Width * a.Height + b.Width * b.Height - both);
}

/** Index of the face that a box means, or -1. */
export function faceAt(faces, box) {
  const covers = faces.map((face) => cover(face.BoundingBox, box));
  const best = covers.indexOf(Math.max(...covers));
  return covers[best] >= 0.4 ? best : -1;
}

/** A region around a box with a margin on each side, kept within the picture. */
export function around(box, margin) {
  const left = Math.max(0, box.Left - margin * box.Width);
  const top = Math.max(0, box.Top - margin * box.Height);
  const right = Math.min(1, box.Left + (1 + margin) * box.Width);
  const bottom = Math.min(1, box.Top + (1 + margin) * box.Height);
  return { Left: left, Top: top, Width: right - left, Height: bottom - top };
}

/** A box of a cut-out region, in ratios of the whole picture. */
export function outOf(region, box) {
  return {
    Left: region.Left + box.Left * region.Width,
    Top: region.Top + box.Top * region.Height,
    Width: box.Width * region.Width,
    Height: box.Height * region.Height,
  };
}
