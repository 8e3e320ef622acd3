/* What the model is and how good it is: facts, scores with counts, confusion, calibration. */

import { calibrationPlot, interval } from "./calibration.js";
import { count, make, percent } from "./dom.js";

/** The section's content for what `GET /v1/model` says. */
export function modelView(about) {
  const scores = about.test ?? about.valid;
  const split = about.test ? "test" : "validation";
  return [
    make("p", { class: "lead", text: introduction(about) }),
    scores ? cards(scores, split) : noRecord(about),
    make("div", { class: "pair" },
      ...(scores ? [confusion(scores.confusion, split)] : []),
      ...(about.calibration?.length ? [calibrationPlot(about.calibration, scores.ece)] : []),
      facts(about),
    ),
  ];
}

/** One line for the head of the page. */
export function inShort(about) {
  const scores = about.test ?? about.valid;
  return scores ? `${about.name} · ${percent(scores.accuracy)} right` : about.name;
}

function introduction({ cell, wide, max_tokens: tokens }) {
  const network = `a recurrent network (${String(cell).toUpperCase()}) that reads up to ${count(tokens)} words in order`;
  return wide
    ? `Two parts add up to one answer: ${network}, and a linear part that weighs words and short phrases.`
    : `One part: ${network}.`;
}

function noRecord() {
  return make("p", { class: "note" },
    "The model directory has no record of how it was trained and tested, so how good it is cannot be said here. ",
    make("code", { text: "sentiscale evaluate MODEL LABELLED_FILE" }), " measures it.",
  );
}

function cards(scores, split) {
  const [[trueNegative, falsePositive], [falseNegative, truePositive]] = scores.confusion;
  const right = trueNegative + truePositive;
  const [least, most] = interval({ accuracy: scores.accuracy, rows: scores.rows });
  const card = (name, value, remark) => make("div", { class: "card" },
    make("dt", { text: name }), make("dd", {}, make("strong", { text: value }), make("small", { text: remark })));
  return make("dl", { class: "cards" },
    card("Answers right", percent(scores.accuracy),
      `${count(right)} of ${count(scores.rows)} ${split} reviews; 95% interval ${percent(least)} to ${percent(most)}`),
    card("Negative found", percent(trueNegative / Math.max(1, trueNegative + falsePositive)),
      `of ${count(trueNegative + falsePositive)} negative reviews`),
    card("Positive found", percent(truePositive / Math.max(1, truePositive + falseNegative)),
      `of ${count(truePositive + falseNegative)} positive reviews`),
    card("Probabilities off by", percent(scores.ece), "on average: expected calibration error"),
  );
}

function confusion([[trueNegative, falsePositive], [falseNegative, truePositive]], split) {
  const row = (name, cells) => {
    const all = cells[0].rows + cells[1].rows;
    return make("tr", {}, make("th", { scope: "row", text: name }), ...cells.map(({ rows, side }) =>
      make("td", { class: side, vars: { "--strength": (rows / Math.max(1, all)).toFixed(3) } },
        make("strong", { text: count(rows) }), make("small", { text: percent(rows / Math.max(1, all)) }))));
  };
  return make("div", { class: "card" },
    make("h3", { text: "Which mistakes does it make?" }),
    make("p", { class: "small", text: `Confusion matrix, ${split} reviews; shares are of each row.` }),
    make("table", { class: "confusion" },
      make("caption", { class: "visually-hidden", text: "Confusion matrix: rows are the truth, columns the answer" }),
      make("thead", {}, make("tr", {}, make("td"),
        make("th", { scope: "col", text: "said negative" }), make("th", { scope: "col", text: "said positive" }))),
      make("tbody", {},
        row("truly negative", [{ rows: trueNegative, side: "right" }, { rows: falsePositive, side: "wrong" }]),
        row("truly positive", [{ rows: falseNegative, side: "wrong" }, { rows: truePositive, side: "right" }])),
    ),
  );
}

function facts(about) {
  const { test } = about;
  const trainRows = about.data?.rows?.train;
  const entries = [
    ["Name", about.name],
    ["Digest", about.digest],
    ["Network", `${String(about.cell).toUpperCase()}${about.wide ? " and a linear part over phrases" : ""}`],
    ["Parameters", count(about.parameters)],
    ["Words it knows", count(about.vocab_size)],
    ["Words it reads", `${count(about.max_tokens)} of a review; of longer ones the beginning and the end`],
    ["Cleaning", `${about.cleaning}, version ${about.cleaning_version}`],
    ["Trained", trained(about)],
    ["Learnt from", trainRows ? `${count(trainRows)} reviews` : ""],
    ["Data", about.data?.digest?.slice(0, 16)],
    ["F1, precision, recall", test ? [test.f1, test.precision, test.recall].map((value) => value.toFixed(4)).join(", ") : ""],
    ["Area under the ROC", typeof test?.auc === "number" ? test.auc.toFixed(4) : ""],
    ["Loss", test ? `${test.loss.toFixed(4)} nats` : ""],
  ].filter(([, value]) => value);
  return make("div", { class: "card facts" },
    make("h3", { text: "Facts" }),
    make("dl", {}, ...entries.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })])),
  );
}

function trained({ trained_at: at, train_seconds: seconds }) {
  if (!at) return "";
  const day = new Date(at).toLocaleDateString("en", { day: "numeric", month: "long", year: "numeric" });
  return seconds ? `${day}, in ${duration(seconds)}` : day;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} minutes` : `${(seconds / 3600).toFixed(1)} hours`;
}
