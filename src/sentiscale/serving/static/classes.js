/* The model's classes: how they are called and coloured, where they lie between two ends, how a label is chosen. */

import { make, percent, signed } from "./dom.js";

export const UNSURE = "unsure";
const HUES = 8; // colours for classes without an order, in style.css; no more stay apart
const MOST_LISTED = 6;

const capitalised = (text) => text[0].toUpperCase() + text.slice(1);
const quoted = (name) => `“${name}”`;

/** Of `GET /v1/model`: names, kind and thresholds. Names are strangers' text. */
export class Classes {
  constructor({ classes = ["negative", "positive"], kind = "binary", thresholds = null } = {}) {
    Object.assign(this, { names: classes, kind, thresholds });
    this.isBinary = classes.length === 2;
    this.axis = axisOf(this);
  }

  /** What a label is called. */
  called(label) {
    return label !== UNSURE && this.kind === "stars" ? `${label} star${label === "1" ? "" : "s"}` : label;
  }

  /** The same where it stands alone; names that are strangers' stay as they are. */
  title(label) {
    return label === UNSURE || this.kind !== "labels" ? capitalised(this.called(label)) : label;
  }

  /** The CSS class with the colours of a label. */
  style(label) {
    if (label === UNSURE) return "unsure";
    if (this.kind === "binary") return label;
    return this.isBinary ? ["first", "second"][this.names.indexOf(label)] : "hued";
  }

  /** CSS variables with the colour of a class of more than two: a ramp where they have an order. */
  vars(label) {
    const at = this.names.indexOf(label);
    if (this.isBinary || at < 0) return {};
    if (this.kind === "labels") return { "--hue": this.names.length > HUES ? "var(--accent)" : `var(--hue-${at})` };
    const place = (2 * at) / (this.names.length - 1) - 1;
    const end = place < 0 ? "var(--ramp-low)" : "var(--ramp-high)";
    return { "--hue": `color-mix(in oklab, ${end} ${(Math.abs(place) * 100).toFixed(1)}%, var(--ramp-middle))` };
  }

  /** A label in a small box of its colour. */
  chip(label) {
    return make("span", { class: `chip ${this.style(label)}`, vars: this.vars(label) }, make("bdi", { text: this.called(label) }));
  }

  /** The classes of a prediction, the most probable first. */
  ranked({ probabilities }) {
    return [...this.names].sort((one, other) => probabilities[other] - probabilities[one]);
  }

  /** The question that the page answers. */
  get question() {
    const [first, second] = this.names;
    if (this.kind === "labels") return this.isBinary ? `${first} or ${second}?` : `Which of ${this.names.length} labels?`;
    return { binary: "Positive or negative?", ternary: "Positive, neutral or negative?", stars: "How many stars?" }[this.kind];
  }

  /** How the model chooses the label, as a sentence; "" where it is the most probable class. */
  get decision() {
    const { weights = {}, thresholds = {}, abstain = {} } = this.thresholds ?? {};
    const listed = (table, show) => {
      const entries = this.names.filter((name) => Object.hasOwn(table, name)).map((name) => `${quoted(this.called(name))} ${show(table[name])}`);
      const rest = entries.length - MOST_LISTED;
      return entries.slice(0, MOST_LISTED).join(", ") + (rest > 0 ? ` and ${rest} more` : "");
    };
    const bounds = Object.values(abstain);
    const same = bounds.length === this.names.length && new Set(bounds).size === 1;
    const parts = [
      Object.keys(weights).length ? `probabilities are weighted: ${listed(weights, (weight) => `×${weight}`)}` : "",
      Object.keys(thresholds).length ? `the label is a class that reaches its threshold: ${listed(thresholds, (bound) => percent(bound))}` : "",
      same ? `a label below ${percent(bounds[0])} is unsure` : "",
      bounds.length && !same ? `labels below these are unsure: ${listed(abstain, (bound) => percent(bound))}` : "",
    ].filter((part) => part !== "");
    return parts.length ? `${capitalised(parts.join("; "))}.` : "";
  }
}

/**
 * The scale from the first class to the last, null where classes have no order: `of(prediction)`, a number from
 * `low` to `high`; `show(number)`, and `average(number)` with words; what the `ends` and the `most` of each are called; `upper`, labels at
 * its upper end.
 */
function axisOf({ names, kind, isBinary }) {
  const ends = [names[0], names.at(-1)];
  if (isBinary && kind !== "stars") {
    return {
      low: 0, high: 1, ends, most: ends.map((name) => `most ${name}`), upper: [names[1]],
      meaning: `Mean probability of ${quoted(names[1])}`, upperTitle: capitalised(names[1]),
      of: (prediction) => prediction.positive_probability, show: (mean) => percent(mean),
    };
  }
  if (kind === "ternary") {
    return {
      low: -1, high: 1, ends, most: ends.map((name) => `most ${name}`), upper: [names[2]],
      meaning: "Mean difference of the probabilities of “positive” and “negative”", upperTitle: "Positive",
      of: ({ probabilities }) => probabilities.positive - probabilities.negative, show: (mean) => signed(mean),
      average: (mean) => `mean sentiment ${signed(mean)}, from −1 to +1`,
    };
  }
  if (kind !== "stars") return null;
  const [low, high] = ends.map(Number);
  const upper = names.filter((name) => (Number(name) - low) / (high - low) >= 0.6);
  return {
    low, high, ends: [`${low}`, `${high} stars`], most: ["fewest stars", "most stars"], upper,
    meaning: "Mean number of stars", upperTitle: upper.length > 1 ? `${upper[0]}–${high} stars` : `${high} stars`,
    of: (prediction) => prediction.expected_star, show: (mean) => mean.toFixed(2),
    average: (mean) => `on average ${mean.toFixed(2)} of ${high} stars`,
  };
}

const FIRST_BARS = 6;
const MOST_BARS = 11; // of classes with an order, which are not folded

/**
 * A bar per class, as a list. `entries` have `label`, `share`, `text`; those of classes without an order come the
 * largest first, and all but a few of many are folded. `chosen` is emphasised; `threshold(label)` is marked.
 */
export function bars(classes, entries, { chosen = null, threshold = () => undefined, open = false } = {}) {
  const inOrder = classes.kind !== "labels" && entries.length <= MOST_BARS;
  const ordered = inOrder ? entries : [...entries].sort((one, other) => other.share - one.share);
  const most = inOrder || ordered.length <= HUES ? ordered.length : FIRST_BARS;
  const line = ({ label, share, text }) => {
    const bound = threshold(label);
    return make("li", { class: `${classes.style(label)} ${label === chosen ? "chosen" : ""}`, vars: classes.vars(label) },
      make("bdi", { class: "name", text: classes.called(label) }),
      make("span", { class: "lane", "aria-hidden": "true", vars: { "--share": `${(share * 100).toFixed(2)}%` } },
        make("i"), bound === undefined ? null : make("b", { vars: { "--at": `${bound * 100}%` } })),
      make("span", { class: "figure", text }));
  };
  const list = (part) => make("ul", { class: "bars" }, ...part.map(line));
  const rest = ordered.slice(most);
  return make("div", { class: "classes" }, list(ordered.slice(0, most)),
    rest.length ? make("details", { open }, make("summary", { text: `${rest.length} more` }), list(rest)) : null);
}
