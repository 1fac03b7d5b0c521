// Matches of one search, filtered in the page by a threshold that says what it means.

import { Calibration, meaning, similarityText } from "./calibration.js";
import { copyButton } from "./clipboard.js";
import { button, element, field, fill } from "./element.js";
import { link } from "./route.js";

export const THRESHOLD_DEFAULT = 80;

/** How many matches a search asks for at first, and at most. */
export const MATCHES_FIRST = 100;
const MATCHES_MAX = { faces: 4096, users: 500 };

/**
 * A list of matches under a slider.
 *
 * @param {object} about the server's description.
 * @param {object} collection what is searched: id, FaceCount, UserCount, FaceModelVersion.
 * @param {"faces" | "users"} noun what is looked for at first.
 */
export function matchList(about, collection, noun) {
  const slider = element("input", { type: "range", min: 0, max: 100, step: 0.1 });
  const exact = element("input.short", { type: "number", min: 0, max: 100, step: 0.1 });
  exact.setAttribute("aria-label", "Threshold as a number");
  const explained = element("div.meaning", { role: "status" });
  const summary = element("p.summary", { role: "status" });
  const list = element("ol.matches");
  const rest = element("div");
  let threshold = THRESHOLD_DEFAULT;
  let matches = null;
  let more = null;

  function set(value) {
    threshold = Math.min(100, Math.max(0, value));
    slider.value = threshold;
    if (document.activeElement !== exact) exact.value = threshold;
    draw();
  }
  slider.addEventListener("input", () => set(slider.valueAsNumber));
  exact.addEventListener("input", () => exact.value !== "" && set(exact.valueAsNumber));
  exact.addEventListener("change", () => {
    exact.value = threshold;
  });

  function draw() {
    explain();
    if (matches === null) return;
    const reaching = matches.filter((match) => match.Similarity >= threshold);
    list.replaceChildren(...reaching.map((match) => row(match, collection.id)));
    const cutOff = more !== null && reaching.length === matches.length;
    summary.textContent = `${say(reaching.length, cutOff)} ${closest(matches[reaching.length])}`;
    fill(rest, cutOff ? button("Look for more", "quiet", more) : null);
  }

  function say(count, cutOff) {
    if (matches.length === 0) return `There is nothing to compare with: no ${noun} here yet.`;
    const at = similarityText(threshold);
    if (count === 0) return `Nobody reaches ${at}.`;
    const word = count === 1 ? noun.slice(0, -1) : noun;
    return `${cutOff ? "At least " : ""}${count} ${word} at ${at} or more.`;
  }

  function explain() {
    const count = noun === "faces" ? collection.FaceCount : collection.UserCount;
    const calibration = Calibration.of(about, collection.FaceModelVersion);
    const said = meaning(calibration, threshold, count, noun);
    explained.className = `meaning ${said.level}`;
    fill(
      explained,
      element("p", {}, said.text),
      said.suggestion !== null
        ? element(
            "p",
            {},
            "At most one in a hundred such searches finds somebody at ",
            button(similarityText(said.suggestion), "tiny", () => set(said.suggestion), {
              "aria-label": `Set the threshold to ${similarityText(said.suggestion)}`,
            }),
          )
        : null,
      said.caution ? element("p.hint", {}, said.caution) : null,
    );
  }

  const node = element(
    "div",
    {},
    element("div.threshold", {}, field("Threshold of Similarity", slider), exact),
    explained,
    summary,
    list,
    rest,
  );
  set(THRESHOLD_DEFAULT);
  return {
    node,
    /**
     * Show the matches of a search.
     *
     * @param {object[]} found best first.
     * @param {"faces" | "users"} kind what they are.
     * @param {(() => void) | null} askMore asks for more of them, where there may be more.
     */
    show(found, kind, askMore) {
      matches = found;
      noun = kind;
      more = askMore;
      draw();
    },
    /** Show a text in place of matches. */
    clear(text = "") {
      matches = null;
      list.replaceChildren();
      rest.replaceChildren();
      summary.textContent = text;
    },
  };
}

function closest(match) {
  return match ? `The closest below has ${similarityText(match.Similarity)}.` : "";
}

/** How many matches to ask for next, or null where the API gives no more. */
export function nextLimit(limit, answered, noun) {
  const most = MATCHES_MAX[noun];
  return answered < limit || limit >= most ? null : Math.min(most, limit * 10);
}

function row({ Similarity, Face, User }, collectionId) {
  const bar = element("span.share", { "aria-hidden": "true" });
  bar.style.setProperty("--share", `${Similarity}%`);
  return element(
    "li",
    {},
    element("span.similarity", { title: "Similarity" }, Similarity.toFixed(1)),
    bar,
    element("div.who", {}, Face ? faceLines(Face, collectionId) : userLines(User, collectionId)),
  );
}

function faceLines(face, collectionId) {
  return [
    element("strong", {}, face.ExternalImageId ?? "without an ExternalImageId"),
    face.UserId
      ? element("a", { href: link("collections", collectionId, "users", face.UserId) }, face.UserId)
      : null,
    element("span.id", {}, element("code", {}, face.FaceId), copyButton(face.FaceId, "FaceId")),
  ];
}

function userLines(user, collectionId) {
  return [
    element("a", { href: link("collections", collectionId, "users", user.UserId) }, user.UserId),
    element("span.id", {}, copyButton(user.UserId, "UserId")),
  ];
}
