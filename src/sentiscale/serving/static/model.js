/* What the model is and how good it is: facts, scores with counts, confusion, calibration. */

import { calibrationPlot, interval } from "./calibration.js";
import { thresholdReport } from "./curve.js";
import { count, counted, make, percent } from "./dom.js";

const MOST_CELLS = 8; // classes of a confusion matrix with shares; of more, the mistakes are listed
const MOST_NARROW = 5; // classes of one that fits half of the page
const MOST_MISTAKES = 10;

/** The section's content for what `GET /v1/model` says. */
export function modelView(about, classes) {
  const scores = about.test ?? about.valid;
  const split = about.test ? "test" : "validation";
  const mistakes = scores ? confusion(scores, split, classes) : null;
  const columns = [
    make("div", {}, classes.names.length > MOST_NARROW ? null : mistakes, facts(about, classes)),
    make("div", {}, about.calibration?.length ? calibrationPlot(about.calibration, scores.ece, classes) : null, decision(about, classes)),
  ];
  return [
    make("p", { class: "lead", text: introduction(about) }),
    scores ? cards(scores, split, classes) : noRecord(about),
    ...(mistakes && classes.names.length > MOST_NARROW ? [mistakes] : []),
    make("div", { class: "pair" }, ...columns.filter((column) => column.hasChildNodes())),
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

function card(name, value, remark) {
  return make("div", { class: "card" },
    make("dt", { text: name }), make("dd", {}, make("strong", { text: value }), make("small", { text: remark })));
}

function cards(scores, split, classes) {
  const right = scores.confusion.reduce((sum, row, at) => sum + row[at], 0);
  const answered = scores.rows - (scores.unsure ?? 0);
  const [least, most] = interval({ accuracy: scores.accuracy, rows: answered });
  const unsure = scores.unsure ? `; ${count(scores.unsure)} more are unsure` : "";
  return make("dl", { class: "cards" },
    card("Answers right", percent(scores.accuracy),
      `${count(right)} of ${count(answered)} ${split} reviews${unsure}; 95% interval ${percent(least)} to ${percent(most)}`),
    ...(classes.isBinary ? recalls(scores, classes) : averages(scores)),
    card("Probabilities off by", percent(scores.ece), "on average: expected calibration error"),
  );
}

function recalls({ confusion, per_class: each }, { names, kind }) {
  return confusion.map((row, at) => {
    const rows = each?.[names[at]]?.rows ?? row[0] + row[1];
    const name = kind === "binary" ? names[at][0].toUpperCase() + names[at].slice(1) : names[at];
    return card(`${name} found`, percent(row[at] / Math.max(1, rows)), `of ${count(rows)} ${names[at]} reviews`);
  });
}

/** Scores in which each class counts the same, and for stars how far off they are. */
function averages(scores) {
  const shown = [
    ["Mean F1", scores.macro_f1, percent, "of the classes, each counting the same: macro F1"],
    ["Classes found", scores.balanced_accuracy, percent, "of each class on average: balanced accuracy"],
    ["Largest class", scores.majority_share, percent, "right if the answer were always this class"],
    ["Stars off by", scores.mae, (value) => value.toFixed(2), "on average: mean absolute error"],
    ["Agreement", scores.quadratic_kappa, (value) => value.toFixed(3), "of stars: Cohen's kappa with quadratic weights"],
    ["Right side", scores.binary_accuracy, percent, "negative or positive, of reviews that are either"],
  ];
  return shown.filter(([, value]) => typeof value === "number")
    .map(([name, value, show, remark]) => card(name, show(value), remark));
}

function confusion(scores, split, classes) {
  const { names } = classes;
  const table = confusionTable(scores.confusion, classes);
  const shown = classes.isBinary ? table : scrolled(table, "Confusion matrix");
  return make("div", { class: "card" },
    make("h3", { text: "Which mistakes does it make?" }),
    ...(names.length > MOST_CELLS
      ? [mistakes(scores.confusion, names, split), folded("All classes against all: rows are the truth, columns the answer", shown)]
      : [make("p", {
        class: "small",
        text: `Confusion matrix, ${split} reviews${classes.isBinary ? "" : ": rows are the truth, columns the answer"}; shares are of each row.`,
      }), shown]),
    !classes.isBinary && scores.per_class ? perClass(scores.per_class, names) : null,
  );
}

/** A table that may be wider than the page. */
const scrolled = (table, label) => make("div", { class: "scroll", role: "region", "aria-label": label, tabindex: 0 }, table);
const folded = (title, ...content) => make("details", {}, make("summary", { text: title }), ...content);

function confusionTable(rows, classes) {
  const { names, isBinary } = classes;
  const shares = names.length <= MOST_CELLS;
  const line = (cells, truth) => {
    const all = Math.max(1, cells.reduce((sum, cell) => sum + cell, 0));
    return make("tr", {},
      make("th", { scope: "row" }, isBinary ? "truly " : "", make("bdi", { text: classes.called(names[truth]) })),
      ...cells.map((cell, said) => make("td", {
        class: said === truth ? "right" : "wrong", vars: { "--strength": (cell / all).toFixed(3) },
      }, make("strong", { text: count(cell) }), shares ? make("small", { text: percent(cell / all) }) : null)));
  };
  return make("table", { class: `confusion ${isBinary ? "" : shares ? "several" : "dense"}` },
    make("caption", { class: "visually-hidden", text: "Confusion matrix: rows are the truth, columns the answer" }),
    make("thead", {}, make("tr", {}, make("td"), ...names.map((name) =>
      make("th", { scope: "col" }, isBinary ? "said " : "", make("bdi", { text: classes.called(name) }))))),
    make("tbody", {}, ...rows.map(line)),
  );
}

/** The pairs of classes that are most often confused. */
function mistakes(rows, names, split) {
  const pairs = rows.flatMap((cells, truth) => cells.map((cell, said) => ({ truth, said, cell })))
    .filter(({ truth, said, cell }) => truth !== said && cell > 0)
    .sort((one, other) => other.cell - one.cell);
  return make("div", {},
    make("p", { class: "small", text: `The most frequent of ${split} reviews: the true class, and the one that was said.` }),
    make("ol", { class: "mistakes" }, ...pairs.slice(0, MOST_MISTAKES).map(({ truth, said, cell }) => make("li", {},
      make("bdi", { text: names[truth] }), " → ", make("bdi", { text: names[said] }),
      make("span", { class: "figure", text: ` ${counted(cell, "review")}` })))));
}

function perClass(scores, names) {
  const heads = ["Class", "F1", "Precision", "Recall", "Reviews"];
  const line = (name) => {
    const { f1, precision, recall, rows } = scores[name];
    return make("tr", {}, make("th", { scope: "row" }, make("bdi", { text: name })),
      ...[f1, precision, recall].map((value) => make("td", { text: percent(value) })), make("td", { text: count(rows) }));
  };
  return folded("Scores of each class", scrolled(make("table", { class: "numbers" },
    make("caption", { class: "visually-hidden", text: "Scores of each class" }),
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...names.filter((name) => Object.hasOwn(scores, name)).map(line))), "Scores of each class"));
}

/** Thresholds and class weights in words, and how the thresholds were chosen. */
function decision({ threshold_reports: reports }, classes) {
  return classes.decision === "" ? null : make("div", { class: "card decision" },
    make("h3", { text: "How does it choose the label?" }), make("p", { text: classes.decision }),
    make("p", { class: "small", text: "The probabilities do not change. The scores above are from training, without thresholds that were set later." }),
    ...reports.map((entry) => thresholdReport(entry, classes)));
}

function facts(about, { isBinary }) {
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
    [`${isBinary ? "" : "Mean "}F1, precision, recall`, test ? [test.f1, test.precision, test.recall].map((value) => value.toFixed(4)).join(", ") : ""],
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
