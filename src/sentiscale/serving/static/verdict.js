/* What the model says of one review: label, how sure, how often it was right when as sure, the coloured words. */

import { count, make, percent } from "./dom.js";
import { explained, inWords } from "./words.js";

const MANY_UNKNOWN = 0.3;
const LEAST_ROWS = 50; // of test reviews, to say how often such answers were right

/** The answer to one review as an element. `about` is the server's description of its model, or null. */
export function verdict(text, prediction, about, note = "") {
  const positive = prediction.label === "positive";
  return make("div", { class: `verdict ${prediction.label}` },
    make("p", { class: "answer" },
      make("strong", { class: "label", text: positive ? "Positive" : "Negative" }),
      make("span", { class: "probability", text: percent(prediction.probability) }),
      make("span", { class: "sureness", text: sureness(prediction.probability) }),
    ),
    meter(prediction.positive_probability),
    ...remarks(prediction, about, note).map((text) => make("p", { class: "small", text })),
    prediction.words ? explained(text, prediction) : make("p", { class: "coloured", dir: "auto", text }),
  );
}

/** The same in one or two sentences. */
export function spoken(prediction) {
  const answer = `${prediction.label === "positive" ? "Positive" : "Negative"}, ${percent(prediction.probability)}.`;
  return prediction.words ? `${answer} ${inWords(prediction)}` : answer;
}

/** A plain word for a probability. */
function sureness(probability) {
  if (probability >= 0.95) return "very sure";
  if (probability >= 0.8) return "fairly sure";
  return probability >= 0.6 ? "leaning that way" : "close to even";
}

function meter(positive) {
  return make("div", { class: "meter", "aria-hidden": "true" },
    make("span", { text: "negative" }),
    make("span", { class: "track", vars: { "--at": `${(positive * 100).toFixed(2)}%` } }, make("i")),
    make("span", { text: "positive" }),
  );
}

function remarks(prediction, about, note) {
  const bin = about?.calibration?.find((bin) => prediction.probability >= bin.low && prediction.probability <= bin.high);
  const unknown = prediction.unknown_share;
  return [
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
