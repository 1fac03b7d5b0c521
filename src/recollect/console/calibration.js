// What a threshold means: how often two different people reach it, and in a gallery of this size.

const CAUTION =
  "The rate was measured over a mixed population. People of the same sex and origin reach a " +
  "threshold twenty to thirty times as often, relatives more often still. A match is a hint for " +
  "a person to check, not proof of identity.";

const TOO_MANY =
  "No threshold that was measured is strict enough for one in a hundred here: a better model or " +
  "a smaller collection is.";

/** False searches that a suggested threshold allows: one in a hundred. */
const FALSE_MATCHES_AIM = 0.01;

/** A model's table of false match rates (FMR). */
export class Calibration {
  /** @param {{similarity: number, fmr: number}[]} anchors measured points, in any order. */
  constructor(anchors) {
    this.anchors = anchors
      .filter(({ similarity, fmr }) => Number.isFinite(similarity) && fmr > 0)
      .sort((a, b) => a.similarity - b.similarity);
  }

  /** The table of a model version, or null where the server states none. */
  static of(about, modelVersion) {
    const anchors = about.packs?.[modelVersion]?.anchors;
    const calibration = Array.isArray(anchors) ? new Calibration(anchors) : null;
    return calibration?.anchors.length >= 2 ? calibration : null;
  }

  /**
   * The false match rate at a similarity, between two anchors by the logarithm.
   *
   * @returns {{fmr: number, bound: "about" | "more than" | "less than"}} outside the measured
   *   range, the nearest measured rate and the side on which the true one lies.
   */
  at(similarity) {
    const first = this.anchors[0];
    const last = this.anchors[this.anchors.length - 1];
    if (similarity < first.similarity) return { fmr: first.fmr, bound: "more than" };
    if (similarity > last.similarity) return { fmr: last.fmr, bound: "less than" };
    const upper = this.anchors.findIndex((anchor) => anchor.similarity >= similarity);
    if (this.anchors[upper].similarity === similarity) {
      return { fmr: this.anchors[upper].fmr, bound: "about" };
    }
    const [a, b] = [this.anchors[upper - 1], this.anchors[upper]];
    const share = (similarity - a.similarity) / (b.similarity - a.similarity);
    const fmr = Math.exp(Math.log(a.fmr) + share * (Math.log(b.fmr) - Math.log(a.fmr)));
    return { fmr, bound: "about" };
  }

  /** The lowest similarity, to a tenth, whose rate is at most `fmr`; null beyond the table. */
  similarity(fmr) {
    for (let tenths = 0; tenths <= 1000; tenths++) {
      const found = this.at(tenths / 10);
      if (found.bound !== "more than" && found.fmr <= fmr) return tenths / 10;
    }
    return null;
  }
}

/**
 * Say in words what a threshold means.
 *
 * @param {Calibration | null} calibration
 * @param {number} threshold similarity, 0 to 100.
 * @param {number | null} count enrolled faces or users; null where it is not known; without
 *   any, only the rate is said.
 * @param {string} noun "faces" or "users".
 * @returns {{text: string, level: "good" | "fair" | "poor" | "unknown", caution: string | null,
 *   suggestion: number | null}} the suggestion is a threshold that allows few enough, where this
 *   one does not and the table reaches so far.
 */
export function meaning(calibration, threshold, count, noun) {
  if (calibration === null) {
    return {
      text: "The server states no error rates for this model, so a threshold cannot be explained.",
      level: "unknown",
      caution: null,
      suggestion: null,
    };
  }
  const { fmr, bound } = calibration.at(threshold);
  const rate =
    `${capital(bound)} ${odds(fmr)} comparisons of two different people ` +
    `reach ${similarityText(threshold)}.`;
  if (!count) return { text: rate, level: "unknown", caution: CAUTION, suggestion: null };

  const expected = fmr * count;
  const suggestion = calibration.similarity(FALSE_MATCHES_AIM / count);
  const good = expected <= FALSE_MATCHES_AIM && bound !== "more than";
  return {
    text:
      `${rate} Over ${count.toLocaleString("en")} ${noun} that is ${bound} ` +
      `${expected.toLocaleString("en", { maximumSignificantDigits: 2 })} false matches for each ` +
      "search of somebody who is not enrolled." +
      (good || suggestion !== null ? "" : ` ${TOO_MANY}`),
    level: good ? "good" : expected < 0.5 ? "fair" : "poor",
    caution: CAUTION,
    suggestion: good ? null : suggestion,
  };
}

/** A rate as "1 in 10,000". */
export function odds(rate) {
  return `1 in ${Number((1 / rate).toPrecision(2)).toLocaleString("en")}`;
}

/** A similarity as it is shown: at most two decimals. */
export function similarityText(similarity) {
  return similarity.toLocaleString("en", { maximumFractionDigits: 2 });
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
