/* A review with its words tinted by what they contributed: blue towards positive, orange towards negative. */

import { count, make, percent, signed } from "./dom.js";

const LEAST_SCALE = 0.5; // in log-odds: a review of faint words stays pale
const LEAST_SHARE = 0.06; // of the strongest word; what is weaker stays untinted
const STRONGEST = 6;

/** Everything there is to show of an explained review: text, legend, strongest words, the sum. */
export function explained(text, prediction) {
  const words = inUnits(text, prediction.words);
  const strongest = words.reduce((most, word) => Math.max(most, Math.abs(word.contribution)), 0);
  const scale = Math.max(LEAST_SCALE, strongest);
  return make("div", { class: "explained" },
    colouredText(text, words, scale),
    words.length > 0 ? legend(scale) : null,
    words.length > 0 ? strongestWords(words) : make("p", { class: "small", text: "No words that the model reads." }),
    words.length > 0 ? sum(prediction, words) : null,
  );
}

/** The strongest words as one sentence, for those who do not see colours. */
export function inWords(prediction) {
  const { forPositive, forNegative } = sides(prediction.words);
  const listed = (side) => side.slice(0, 3).map((entry) => entry.word).join(", ");
  return [
    forPositive.length ? `For positive: ${listed(forPositive)}.` : "",
    forNegative.length ? `For negative: ${listed(forNegative)}.` : "",
  ].join(" ").trim();
}

/** The server counts Unicode code points, JavaScript UTF-16 units: emoji are one of the first, two of the second. */
function inUnits(text, words) {
  if (!/[\ud800-\udbff]/.test(text)) return words;
  const units = [];
  let at = 0;
  for (const character of text) {
    units.push(at);
    at += character.length;
  }
  units.push(at);
  return words.map((word) => ({ ...word, start: units[word.start] ?? at, end: units[word.end] ?? at }));
}

function colouredText(text, words, scale) {
  const paragraph = make("p", { class: "coloured", dir: "auto" });
  let cursor = 0;
  for (const word of [...words].sort((one, other) => one.start - other.start)) {
    if (word.start < cursor) continue;
    paragraph.append(text.slice(cursor, word.start), tinted(text.slice(word.start, word.end), word, scale));
    cursor = word.end;
  }
  paragraph.append(text.slice(cursor));
  return withTip(paragraph);
}

function tinted(shown, word, scale) {
  const share = Math.abs(word.contribution) / scale;
  const side = word.contribution < 0 ? "negative" : "positive";
  const weight = share < LEAST_SHARE ? "faint" : share > 0.55 ? "strong" : "";
  const span = make("span", {
    class: `word ${side} ${weight}`.trim(), text: shown, vars: { "--strength": share.toFixed(3) },
  });
  span.dataset.contribution = word.contribution;
  return span;
}

let shownTip = null;
addEventListener("keydown", (event) => { if (event.key === "Escape" && shownTip) shownTip.hidden = true; });

/** One bubble for a text: over the word that is pointed at or tapped; Escape takes it away. */
function withTip(paragraph) {
  const tip = make("span", { class: "tip", "aria-hidden": "true", hidden: true });
  const box = make("div", { class: "colouring" }, paragraph, tip);
  const show = (event) => {
    const word = event.target.closest(".word");
    tip.hidden = !word;
    shownTip = tip;
    if (!word) return;
    const contribution = Number(word.dataset.contribution);
    tip.textContent = `${signed(contribution)} · ${odds(contribution)}`;
    const [outer, inner] = [box.getBoundingClientRect(), word.getClientRects()[0]];
    const most = Math.max(0, outer.width - tip.offsetWidth);
    tip.style.setProperty("--x", `${Math.min(most, Math.max(0, inner.left - outer.left))}px`);
    tip.style.setProperty("--y", `${inner.top - outer.top}px`);
  };
  paragraph.addEventListener("pointerover", show);
  paragraph.addEventListener("click", show);
  box.addEventListener("pointerleave", () => { tip.hidden = true; });
  return box;
}

/** "odds of positive × 2.0" for +0.69. */
function odds(contribution) {
  const factor = Math.exp(Math.abs(contribution));
  const side = contribution < 0 ? "negative" : "positive";
  return `odds of ${side} ×${factor < 10 ? factor.toFixed(factor < 1.095 ? 2 : 1) : count(Math.round(factor))}`;
}

function legend(scale) {
  return make("p", { class: "scale" },
    make("span", { text: `negative ${signed(-scale, 1)}` }),
    make("span", { class: "ramp", "aria-hidden": "true" }),
    make("span", { text: `${signed(scale, 1)} positive` }),
  );
}

/** Words that pull to either side, occurrences of the same word added up, the strongest first. */
function sides(words) {
  const sums = new Map();
  for (const { word, contribution } of words) {
    const entry = sums.get(word) ?? { word, contribution: 0, times: 0 };
    sums.set(word, { word, contribution: entry.contribution + contribution, times: entry.times + 1 });
  }
  const ordered = [...sums.values()].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  return {
    forPositive: ordered.filter((entry) => entry.contribution >= 0.005),
    forNegative: ordered.filter((entry) => entry.contribution <= -0.005),
  };
}

function strongestWords(words) {
  const { forPositive, forNegative } = sides(words);
  return make("div", { class: "sides" }, side("negative", forNegative), side("positive", forPositive));
}

function side(name, entries) {
  const shown = entries.slice(0, STRONGEST);
  return make("div", { class: name },
    make("h3", { text: `For ${name}` }),
    shown.length === 0
      ? make("p", { class: "small", text: "No word." })
      : make("ul", { class: "strongest" }, ...shown.map((entry) => make("li", {},
        make("bdi", { text: entry.word }), entry.times > 1 ? make("small", { text: ` ×${entry.times}` }) : null,
        " ", make("span", { class: "figure", text: signed(entry.contribution) }),
      ))),
  );
}

function sum({ base, logit, positive_probability: positive }, words) {
  const all = words.reduce((total, word) => total + word.contribution, 0);
  return make("details", { class: "sum" },
    make("summary", { text: "How the number comes about" }),
    make("p", {
      text: `Without any words the model starts at ${signed(base)}. The ${count(words.length)} words add ${signed(all)}, ` +
        `which makes ${signed(logit)} on the scale of log-odds, and that is a probability of ${percent(positive)} for ` +
        `“positive”. Zero is the border; +0.69 doubles the odds of “positive”.`,
    }),
  );
}
