// Two pictures: is the largest face of one among the faces of the other?

import { Calibration, meaning, similarityText } from "../calibration.js";
import { element, field, fill } from "../element.js";
import { failure } from "../failure.js";
import { intake } from "../intake.js";
import { THRESHOLD_DEFAULT } from "../matches.js";
import { overlay } from "../overlay.js";
import { counted } from "../words.js";

/** Show the page. */
export function compare(page) {
  const { api, about, signal, root } = page;
  page.title("Compare");
  const outcome = element("div", { role: "status" });
  const slider = element("input", { type: "range", min: 0, max: 100, step: 0.1 });
  slider.value = THRESHOLD_DEFAULT;
  const value = element("output", { "aria-hidden": "true" });
  const explained = element("div.meaning");
  let answer = null;
  let run = 0;

  const source = intake({
    title: "The face to look for",
    received: () => asked(source),
    wantsPaste: () => source.picture === null || target.picture !== null,
    signal,
  });
  const target = intake({
    title: "The picture to look in",
    received: () => asked(target),
    wantsPaste: () => source.picture !== null && target.picture === null,
    signal,
  });

  async function asked(place) {
    answer = null;
    place.show(overlay(place.picture, []));
    outcome.replaceChildren();
    if (!source.picture || !target.picture) return;
    const now = ++run;
    fill(outcome, element("p", {}, "Comparing …"));
    try {
      const params = {
        SourceImage: await source.picture.request(),
        TargetImage: await target.picture.request(),
        SimilarityThreshold: 0,
      };
      const given = await api.call("CompareFaces", params, signal);
      if (now !== run) return;
      answer = given;
      draw();
    } catch (error) {
      if (!signal.aborted && now === run) fill(outcome, failure(error));
    }
  }

  function draw() {
    const threshold = slider.valueAsNumber;
    value.textContent = similarityText(threshold);
    explain(threshold);
    if (answer === null) return;
    const { SourceImageFace, FaceMatches, UnmatchedFaces } = answer;
    const faces = [
      ...FaceMatches,
      ...UnmatchedFaces.map((face) => ({ Similarity: null, Face: face })),
    ];
    source.show(
      overlay(source.picture, [
        { box: SourceImageFace.BoundingBox, kind: "searched", label: "The face to look for" },
      ]),
    );
    target.show(
      overlay(
        target.picture,
        faces.map(({ Similarity, Face }, index) => ({
          box: Face.BoundingBox,
          kind: Similarity !== null && Similarity >= threshold ? "match" : "plain",
          label: `Face ${index + 1}: ${similarity(Similarity)}`,
        })),
      ),
    );
    const same = FaceMatches.filter((match) => match.Similarity >= threshold).length;
    fill(
      outcome,
      element(
        "p.lead",
        {},
        same
          ? `${same} of ${counted(faces.length, "face")} at ${similarityText(threshold)} or more.`
          : `None of ${counted(faces.length, "face")} reaches ${similarityText(threshold)}.`,
      ),
      element(
        "ol.plain",
        {},
        faces.map(({ Similarity }, index) =>
          element("li", {}, `Face ${index + 1}: ${similarity(Similarity)}`),
        ),
      ),
    );
  }

  // CompareFaces works with the model of new collections, which the server names.
  function explain(threshold) {
    const version = about.default ?? Object.keys(about.packs ?? {})[0];
    const said = meaning(Calibration.of(about, version), threshold, null, "faces");
    explained.className = "meaning unknown";
    fill(
      explained,
      element("p", {}, said.text),
      said.caution ? element("p.hint", {}, said.caution) : null,
    );
  }

  slider.addEventListener("input", draw);
  fill(
    root,
    element("h1", {}, "Compare"),
    element(
      "p.lead",
      {},
      "Is the largest face of the first picture among the faces of the second?",
    ),
    element(
      "div.columns.even",
      {},
      element("section.card", { "aria-label": "First picture" }, source.node),
      element("section.card", { "aria-label": "Second picture" }, target.node),
    ),
    element(
      "section.card",
      { "aria-label": "Result" },
      element("div.threshold", {}, field("Threshold of Similarity", slider), value),
      explained,
      outcome,
    ),
    element("p.hint", {}, "Both pictures go to this server, are compared and forgotten."),
  );
  draw();
}

function similarity(value) {
  return value === null ? "no Similarity" : `Similarity ${value.toFixed(1)}`;
}
