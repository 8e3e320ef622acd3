/* A review with its words tinted by what they contributed: blue for the explained class, orange against it. With two
   classes, that is positive and negative. */

import { count, make, percent, signed } from "./dom.js";

const LEAST_SCALE = 0.5; // in log-odds: a review of faint words stays pale
const LEAST_SHARE = 0.06; // of the strongest word; what is weaker stays untinted
const STRONGEST = 6;

/** What the two sides are called: the two classes, or for and against one of more. */
function sidesOf(prediction, classes) {
  const name = classes.called(prediction.class);
  const two = classes.names.map((label) => ({ side: classes.called(label), heading: `For ${label}` }));
  const [negative, positive] = classes.isBinary
    ? two
    : ["against", "for"].map((way) => ({ side: `${way} “${name}”`, heading: `${way === "for" ? "For" : "Against"} “${name}”` }));
  return { negative, positive, isBinary: classes.isBinary };
}

/** Everything there is to show of an explained review: text, legend, strongest words, the sum. */
export function explained(text, prediction, classes) {
  const names = sidesOf(prediction, classes);
  const words = inUnits(text, prediction.words);
  const strongest = words.reduce((most, word) => Math.max(most, Math.abs(word.contribution)), 0);
  const scale = Math.max(LEAST_SCALE, strongest);
  return make("div", { class: "explained" },
    colouredText(text, words, scale, names),
    words.length > 0 ? legend(scale, names) : null,
    words.length > 0 ? strongestWords(words, names) : make("p", { class: "small", text: "No words that the model reads." }),
    words.length > 0 ? sum(prediction, words, classes) : null,
  );
}

/** The strongest words as one sentence, for those who do not see colours. */
export function inWords(prediction, classes) {
  const { negative, positive } = sidesOf(prediction, classes);
  const { forPositive, forNegative } = sides(prediction.words);
  const listed = (side) => side.slice(0, 3).map((entry) => entry.word).join(", ");
  return [
    forPositive.length ? `${positive.heading}: ${listed(forPositive)}.` : "",
    forNegative.length ? `${negative.heading}: ${listed(forNegative)}.` : "",
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

function colouredText(text, words, scale, names) {
  const paragraph = make("p", { class: "coloured", dir: "auto" });
  let cursor = 0;
  for (const word of [...words].sort((one, other) => one.start - other.start)) {
    if (word.start < cursor) continue;
    paragraph.append(text.slice(cursor, word.start), tinted(text.slice(word.start, word.end), word, scale));
    cursor = word.end;
  }
  paragraph.append(text.slice(cursor));
  return withTip(paragraph, names);
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
function withTip(paragraph, names) {
  const tip = make("span", { class: "tip", "aria-hidden": "true", hidden: true });
  const box = make("div", { class: "colouring" }, paragraph, tip);
  const show = (event) => {
    const word = event.target.closest(".word");
    tip.hidden = !word;
    shownTip = tip;
    if (!word) return;
    const contribution = Number(word.dataset.contribution);
    tip.textContent = `${signed(contribution)} · ${effect(contribution, names)}`;
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

/** "odds of positive × 2.0" for +0.69; of more classes only the side. */
function effect(contribution, { negative, positive, isBinary }) {
  const factor = Math.exp(Math.abs(contribution));
  const { side } = contribution < 0 ? negative : positive;
  if (!isBinary) return side;
  return `odds of ${side} ×${factor < 10 ? factor.toFixed(factor < 1.095 ? 2 : 1) : count(Math.round(factor))}`;
}

function legend(scale, { negative, positive }) {
  return make("p", { class: "scale" },
    make("span", { text: `${negative.side} ${signed(-scale, 1)}` }),
    make("span", { class: "ramp", "aria-hidden": "true" }),
    make("span", { text: `${signed(scale, 1)} ${positive.side}` }),
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

function strongestWords(words, names) {
  const { forPositive, forNegative } = sides(words);
  return make("div", { class: "sides" },
    side("negative", names.negative, forNegative), side("positive", names.positive, forPositive));
}

function side(name, { heading }, entries) {
  const shown = entries.slice(0, STRONGEST);
  return make("div", { class: name },
    make("h3", { text: heading }),
    shown.length === 0
      ? make("p", { class: "small", text: "No word." })
      : make("ul", { class: "strongest" }, ...shown.map((entry) => make("li", {},
        make("bdi", { text: entry.word }), entry.times > 1 ? make("small", { text: ` ×${entry.times}` }) : null,
        " ", make("span", { class: "figure", text: signed(entry.contribution) }),
      ))),
  );
}

function sum({ base, logit, class: label, probabilities }, words, classes) {
  const all = words.reduce((total, word) => total + word.contribution, 0);
  const [name, chance] = [`“${classes.called(label)}”`, percent(probabilities[label])];
  const meaning = classes.isBinary
    ? `on the scale of log-odds, and that is a probability of ${chance} for ${name}. Zero is the border; +0.69 doubles ` +
      `the odds of ${name}.`
    : `as the score of ${name} above the average score of the ${classes.names.length} classes; with the scores of the ` +
      `other classes, that is a probability of ${chance}.`;
  return make("details", { class: "sum" },
    make("summary", { text: "How the number comes about" }),
    make("p", {
      text: `Without any words the model starts at ${signed(base)}. The ${count(words.length)} words add ${signed(all)}, ` +
        `which makes ${signed(logit)} ${meaning}`,
    }),
  );
}
