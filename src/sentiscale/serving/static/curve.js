/* How a threshold was chosen: precision against recall for every threshold, the chosen one marked, scores before and after. */

import { count, draw, make, percent } from "./dom.js";

const WIDTH = 360;
const HEIGHT = 260;
const BOX = { left: 54, top: 12, right: 338, bottom: 206 };
const MARKS = [0, 0.2, 0.4, 0.6, 0.8, 1];

/** A threshold of the model, as `GET /v1/model` reports it. */
export function thresholdReport(entry, classes) {
  const { class_name: label, threshold, reported, curve } = entry;
  const { before, after } = reported;
  const whose = label === null ? "every class" : `“${classes.called(label)}”`;
  return make("figure", {},
    make("figcaption", {}, make("p", {},
      `${asked(entry)}${whose}: a probability of ${percent(threshold)}. On ${count(reported.rows)} rows (${reported.part}), ` +
        `precision ${percent(after.precision)} and recall ${percent(after.recall)}; without it, ` +
        `${percent(before.precision)} and ${percent(before.recall)}.`)),
    curve.length > 1 ? plot(curve, after, whose) : null,
    curve.length > 1 ? make("p", { class: "small", text: "The line: what other thresholds would give. The dot: the chosen one." }) : null,
  );
}

function asked({ measure, target, costs }) {
  if (measure === "cost") return `Chosen for the lowest cost (${costs.fp} for a wrong label, ${costs.fn} for a missed row) of `;
  return measure === "abstain" ? "Unsure below, for " : `Chosen for a ${measure} of ${percent(target)} of `;
}

function plot(curve, { precision, recall }, whose) {
  const x = (share) => BOX.left + share * (BOX.right - BOX.left);
  const y = (share) => BOX.bottom - share * (BOX.bottom - BOX.top);
  const line = curve.map((point) => `${x(point.recall).toFixed(1)},${y(point.precision).toFixed(1)}`).join(" ");
  const told = `precision ${percent(precision)}, recall ${percent(recall)}`;
  return draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot", "aria-label": `Precision against recall of ${whose}; chosen: ${told}.`,
  },
  ...MARKS.flatMap((mark) => [
    draw("line", { class: "grid", x1: BOX.left, x2: BOX.right, y1: y(mark), y2: y(mark) }),
    draw("text", { class: "tick y", x: BOX.left - 6, y: y(mark) + 4, text: percent(mark, 0) }),
    draw("text", { class: "tick x", x: x(mark), y: 224, text: percent(mark, 0) }),
  ]),
  draw("polyline", { class: "curve", points: line }),
  draw("circle", { class: "dot", cx: x(recall), cy: y(precision), r: 5 }, draw("title", { text: told })),
  draw("text", { class: "tick x", x: (BOX.left + BOX.right) / 2, y: 246, text: "recall" }),
  draw("text", { class: "tick x", transform: `translate(10 ${(BOX.top + BOX.bottom) / 2}) rotate(-90)`, text: "precision" }),
  );
}
