/* What the model says of one review: label, how sure, how often it was right when as sure, the coloured words. */

import { bars, UNSURE } from "./classes.js";
import { count, make, percent } from "./dom.js";
import { explained, inWords } from "./words.js";

const MANY_UNKNOWN = 0.3;
const LEAST_ROWS = 50; // of test reviews, to say how often such answers were right

/** The answer to one review as an element. `page` has the model's `classes` and its description, `about`. */
export function verdict(text, prediction, { classes, about }, note = "") {
  const { label } = prediction;
  return make("div", { class: `verdict ${classes.style(label)}`, vars: classes.vars(label) },
    make("p", { class: "answer" },
      make("strong", { class: "label" }, make("bdi", { text: classes.title(label) })),
      ...(label === UNSURE
        ? [make("span", { class: "sureness", text: mostProbable(prediction, classes) })]
        : [
          make("span", { class: "probability", text: percent(prediction.probability) }),
          make("span", { class: "sureness", text: sureness(prediction.probability, classes) }),
        ]),
    ),
    expectedStars(prediction, classes),
    classes.isBinary ? meter(classes.axis.ends, prediction.positive_probability) : chances(prediction, classes),
    ...remarks(prediction, classes, about, note).map((text) => make("p", { class: "small", text })),
    prediction.words ? explained(text, prediction, classes) : make("p", { class: "coloured", dir: "auto", text }),
  );
}

/** The same in one or two sentences. */
export function spoken(prediction, classes) {
  const { label, expected_star: star } = prediction;
  const sure = label === UNSURE ? mostProbable(prediction, classes) : percent(prediction.probability);
  const answer = `${classes.title(label)}, ${sure}.${star === null ? "" : ` Expected: ${stars(star, classes)}.`}`;
  return prediction.words ? `${answer} ${inWords(prediction, classes)}` : answer;
}

function mostProbable(prediction, classes) {
  const [first] = classes.ranked(prediction);
  return `most probable: ${classes.called(first)}, ${percent(prediction.probabilities[first])}`;
}

/** A plain word for a probability. */
function sureness(probability, { isBinary }) {
  if (probability >= 0.95) return "very sure";
  if (probability >= 0.8) return "fairly sure";
  if (probability >= 0.6) return "leaning that way";
  return isBinary ? "close to even" : "far from sure";
}

const stars = (star, { axis }) => `${star.toFixed(1)} of ${axis.high} stars`;

function expectedStars({ expected_star: star }, classes) {
  if (star === null) return null;
  const { low, high } = classes.axis;
  return make("div", { class: "expected" },
    make("p", {}, "Expected: ", make("strong", { text: stars(star, classes) })),
    meter([`${low}`, `${high}`], (star - low) / (high - low)));
}

function meter([first, last], share) {
  return make("div", { class: "meter", "aria-hidden": "true" },
    make("bdi", { text: first }),
    make("span", { class: "track", vars: { "--at": `${(share * 100).toFixed(2)}%` } }, make("i")),
    make("bdi", { text: last }),
  );
}

function chances({ label, probabilities }, classes) {
  const entries = classes.names.map((name) => ({ label: name, share: probabilities[name], text: percent(probabilities[name]) }));
  const bounds = classes.thresholds?.thresholds ?? {};
  return bars(classes, entries, { chosen: label, threshold: (name) => (Object.hasOwn(bounds, name) ? bounds[name] : undefined) });
}

function remarks(prediction, classes, about, note) {
  const { label, probability, unknown_share: unknown } = prediction;
  const isMostProbable = classes.ranked(prediction)[0] === label;
  const bin = about?.calibration?.find((bin) => isMostProbable && probability >= bin.low && probability <= bin.high);
  return [
    isMostProbable || label === UNSURE ? "" : `Not the most probable class (${mostProbable(prediction, classes)}).`,
    isMostProbable ? "" : classes.decision,
    classes.isBinary || Object.keys(classes.thresholds?.thresholds ?? {}).length === 0
      ? ""
      : "The line in a bar is the probability from which its class is the label.",
    bin && bin.rows >= LEAST_ROWS
      ? `Of ${count(bin.rows)} test reviews where it was about as sure, it was right in ${percent(bin.accuracy)}.`
      : "",
    prediction.truncated
      ? "The review is long: of its middle, only the model's linear part takes notice, not the network."
      : "",
    unknown >= 1 ? "The model knows none of these words: the answer means nothing." : "",
    unknown >= MANY_UNKNOWN && unknown < 1
      ? `${percent(unknown, 0)} of its words are unknown to the model; take the answer with care.`
      : "",
    note,
  ].filter((sentence) => sentence !== "");
}
