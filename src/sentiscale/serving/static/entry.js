/* What is typed, pasted, dropped or chosen: one review, or a table of them, and how it is to be read. */

import { DELIMITERS } from "./csv.js";
import { byId, count, counted, debounced, make } from "./dom.js";
import { linesTable, looksLikeTable, readFile, readTable } from "./reading.js";

const PAUSE_MS = 250;

const EXAMPLES = [
  "Great screen, but the battery died in a week and support never answered.",
  "Not bad at all! I expected cheap plastic, and it turned out to be sturdy and easy to clean.",
  "I wanted to love this book. The first half is wonderful, then it falls apart, and the ending is a waste of time.",
];

export class Entry {
  /** `onOne(text)`, `onMany(table)`, `onNothing()`, `onProblem(sentence)` are told what is there; `page` has `classes`. */
  constructor({ page, onOne, onMany, onNothing, onProblem }) {
    Object.assign(this, { page, onOne, onMany, onNothing, onProblem });
    this.file = null; // { name, text }
    this.reading = null; // chosen by hand: "one", "lines" or "table"
    this.chosen = {};
    this.example = 0;
    this.typed = byId("text");
    this.readSoon = debounced(() => this.read(), PAUSE_MS);
    this.typed.addEventListener("input", () => this.edited());
    byId("example").addEventListener("click", () => this.tryOne());
    byId("clear").addEventListener("click", () => this.clear());
    byId("remove").addEventListener("click", () => this.clear());
    byId("file").addEventListener("change", (event) => this.take(event.target.files));
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("entry").addEventListener("submit", (event) => event.preventDefault());
    byId("reading").addEventListener("change", (event) => {
      this.reading = event.target.value;
      this.read();
    });
    this.listenForChoices();
    this.listenForDrops();
  }

  listenForChoices() {
    const choices = {
      "text-column": (element) => { this.chosen.textColumn = Number(element.value); },
      "title-column": (element) => { this.chosen.titleColumn = Number(element.value); },
      delimiter: (element) => { this.chosen = { delimiter: element.value }; },
      header: (element) => { this.chosen.header = element.checked; },
    };
    for (const [id, choose] of Object.entries(choices)) {
      byId(id).addEventListener("change", (event) => {
        choose(event.target);
        this.read();
      });
    }
  }

  listenForDrops() {
    let depth = 0; // dragenter and dragleave come for every element inside
    const over = (change) => {
      depth = Math.max(0, depth + change);
      document.body.classList.toggle("dropping", depth > 0);
    };
    const brings = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (event) => { if (brings(event)) over(1); });
    addEventListener("dragleave", (event) => { if (brings(event)) over(-1); });
    addEventListener("dragover", (event) => { if (brings(event)) event.preventDefault(); });
    addEventListener("drop", (event) => {
      over(-Infinity);
      if (!brings(event)) return;
      event.preventDefault();
      this.take(event.dataTransfer.files);
    });
  }

  tryOne() {
    this.forget();
    this.typed.value = EXAMPLES[this.example % EXAMPLES.length];
    this.example += 1;
    this.read();
  }

  edited() {
    if (this.typed.value.trim() === "") {
      this.reading = null;
      this.chosen = {};
    }
    this.readSoon();
  }

  clear() {
    this.forget();
    this.typed.value = "";
    this.read();
    this.typed.focus();
  }

  forget() {
    Object.assign(this, { file: null, reading: null, chosen: {} });
    byId("file").value = "";
  }

  async take(files) {
    const [file] = files;
    if (!file) return;
    try {
      const text = await readFile(file);
      this.forget();
      this.typed.value = "";
      this.file = { name: file.name, text };
      this.read();
      if (files.length > 1) this.onProblem(`One file at a time: ${file.name} was taken.`);
    } catch (error) {
      this.onProblem(error.message);
    }
  }

  /** Looks at what is there and passes it on. */
  read() {
    const text = this.typed.value;
    const ways = this.file ? ["file"] : waysToRead(text);
    const way = ways.includes(this.reading) ? this.reading : ways[0];
    this.offerWays(ways, way);
    byId("writing").hidden = this.file !== null;
    byId("clear").disabled = text === "";
    const { classes } = this.page;
    const table = this.file
      ? readTable(this.file.text, this.file.name, this.chosen, classes)
      : tableOf(text, way, this.chosen, classes);
    this.describe(table, way);
    if (table === null && text.trim() === "") this.onNothing();
    else if (table === null) this.onOne(text);
    else if (table.rows.length === 0) this.nothingIn(this.file.name);
    else this.onMany({ ...table, name: this.file?.name ?? "reviews" });
  }

  nothingIn(name) {
    this.onNothing();
    this.onProblem(`${name} holds no reviews.`);
  }

  offerWays(ways, way) {
    byId("reading").hidden = ways.length < 2;
    for (const option of byId("reading").querySelectorAll("label")) {
      const input = option.querySelector("input");
      option.hidden = !ways.includes(input.value);
      input.checked = input.value === way;
    }
  }

  /** The panel that tells how a file or a pasted table was read. */
  describe(table, way) {
    byId("chosen").hidden = table === null || way === "lines";
    if (byId("chosen").hidden) return;
    byId("chosen-name").textContent = this.file?.name ?? "Pasted table";
    byId("chosen-size").textContent = `${counted(table.rows.length, "review")}, ${counted(table.columns.length, "column")}`;
    byId("remove").hidden = this.file === null;
    offerColumns("text-column", table.columns, table.textColumn);
    offerColumns("title-column", table.columns, table.titleColumn, make("option", { value: -1, text: "no column" }));
    byId("column-choices").hidden = table.columns.length < 2;
    byId("delimited-choices").hidden = table.kind !== "delimited";
    byId("delimiter").value = table.delimiter ?? DELIMITERS.comma;
    byId("header").checked = table.header === true;
    byId("chosen-notes").replaceChildren(...table.notes.map((text) => make("li", { text })));
  }
}

function offerColumns(id, columns, chosen, ...first) {
  byId(id).replaceChildren(...first, ...columns.map((name, at) => make("option", { value: at, text: name })));
  byId(id).value = String(chosen);
}

/** The sensible ways to read typed text, the most likely first. */
function waysToRead(text) {
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line.trim() !== "").length;
  if (lines < 2) return ["one"];
  byId("lines-way").textContent = `${count(lines)} reviews, one a line`;
  return looksLikeTable(text) ? ["table", "lines", "one"] : ["lines", "one"];
}

function tableOf(text, way, chosen, classes) {
  if (way === "lines") return linesTable(text, classes);
  return way === "table" ? readTable(text, "pasted.csv", chosen) : null;
}
