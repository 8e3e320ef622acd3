/* The calibration plot: how sure the model was against how often it was right, on test reviews. */

import { count, draw, make, percent } from "./dom.js";

const WIDTH = 360;
const HEIGHT = 300;
const BOX = { left: 54, top: 10, right: 350, bottom: 206 };
const STRIP = { top: 222, bottom: 256 }; // how many rows each bin has
const Z = 1.96;

/** The plot with its legend, and the numbers as a table for those who want them. */
export function calibrationPlot(bins, ece, { isBinary }) {
  const least = isBinary ? 0.5 : Math.floor(bins[0].low * 10) / 10; // confidence, of the most probable class
  const low = Math.max(0, Math.floor(Math.min(0.5, ...bins.map((bin) => interval(bin)[0])) * 10) / 10);
  const x = (share) => BOX.left + ((Math.max(least, share) - least) / (1 - least)) * (BOX.right - BOX.left);
  const y = (share) => BOX.bottom - ((share - low) / (1 - low)) * (BOX.bottom - BOX.top);
  const most = Math.max(...bins.map((bin) => bin.rows));
  const picture = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot",
    "aria-label": `Calibration: ${summary(bins, ece)} The numbers are in the table below.`,
  },
  ...axes(x, y, least, low),
  draw("line", { class: "diagonal", x1: x(Math.max(least, low)), y1: y(Math.max(least, low)), x2: x(1), y2: y(1) }),
  ...bins.flatMap((bin) => column(bin, x, most)),
  ...bins.flatMap((bin) => point(bin, x, y)),
  );
  return make("figure", { class: "card" },
    make("figcaption", {}, make("h3", { text: "Does it know when it is right?" }),
      make("p", { class: "small", text: summary(bins, ece) })),
    picture,
    make("p", { class: "small", text: "Dots on the line: as often right as it is sure. Whiskers hold the truth 95 times in 100. Below: reviews by how sure it was." }),
    numbers(bins, least),
  );
}

function summary(bins, ece) {
  return `Its probabilities are off by ${percent(ece)} on average (expected calibration error, ` +
    `${count(bins.reduce((sum, bin) => sum + bin.rows, 0))} test reviews).`;
}

function axes(x, y, least, low) {
  const step = least < 0.5 ? 0.2 : 0.1;
  const marks = Array.from({ length: Math.floor((1 - least) / step + 1.01) }, (_, at) => 1 - at * step);
  const levels = Array.from({ length: Math.round((1 - low) * 10) + 1 }, (_, at) => low + at / 10);
  const every = levels.length > 7 ? 2 : 1;
  const shown = levels.filter((_, at) => (levels.length - 1 - at) % every === 0);
  const right = (value) => `${Math.round(value * 100)}%`;
  return [
    ...shown.map((level) => draw("line", { class: "grid", x1: BOX.left, x2: BOX.right, y1: y(level), y2: y(level) })),
    ...shown.map((level) => draw("text", { class: "tick y", x: BOX.left - 6, y: y(level) + 4, text: right(level) })),
    ...marks.map((mark) => draw("text", { class: "tick x", x: Math.min(x(mark), WIDTH - 16), y: 272, text: right(mark) })),
    draw("text", { class: "tick x", x: (BOX.left + BOX.right) / 2, y: 293, text: "how sure it was" }),
    draw("text", { class: "tick x", transform: `translate(10 ${(BOX.top + BOX.bottom) / 2}) rotate(-90)`, text: "how often right" }),
  ];
}

function column(bin, x, most) {
  const [from, to] = [x(bin.low) + 1, x(bin.high) - 1];
  const height = Math.max(1, (bin.rows / most) * (STRIP.bottom - STRIP.top));
  return [draw("rect", {
    class: "rows", x: from, y: STRIP.bottom - height, width: Math.max(1, to - from), height,
  }, draw("title", { text: `${count(bin.rows)} reviews` }))];
}

function point(bin, x, y) {
  const [least, most] = interval(bin);
  const at = x(bin.confidence);
  const told = `sure ${percent(bin.confidence)}, right ${percent(bin.accuracy)}, ${count(bin.rows)} reviews`;
  return [
    draw("line", { class: "whisker", x1: at, x2: at, y1: y(least), y2: y(most) }),
    draw("circle", { class: "dot", cx: at, cy: y(bin.accuracy), r: 4.5 }, draw("title", { text: told })),
  ];
}

/** Between which shares the true one lies, at 95 % (Wilson, 1927). */
export function interval({ accuracy, rows }) {
  const centre = (accuracy + (Z * Z) / (2 * rows)) / (1 + (Z * Z) / rows);
  const half = (Z / (1 + (Z * Z) / rows)) * Math.sqrt((accuracy * (1 - accuracy)) / rows + (Z * Z) / (4 * rows * rows));
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

function numbers(bins, least) {
  const heads = ["Sure between", "Sure on average", "Right", "Reviews"];
  return make("details", {},
    make("summary", { text: "The numbers" }),
    make("table", { class: "numbers" },
      make("caption", { class: "visually-hidden", text: "Calibration by bins" }),
      make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))),
      make("tbody", {}, ...bins.map((bin) => make("tr", {},
        make("th", { scope: "row", text: `${percent(Math.max(least, bin.low), 0)} and ${percent(bin.high, 0)}` }),
        make("td", { text: percent(bin.confidence) }),
        make("td", { text: percent(bin.accuracy) }),
        make("td", { text: count(bin.rows) }),
      ))),
    ),
  );
}
