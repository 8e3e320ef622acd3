/* The table of many reviews: a page of rows at a time, sorting, filters, a row that opens, download. */

import { bars, Classes, UNSURE } from "./classes.js";
import { guarded, write } from "./csv.js";
import { byId, count, counted, debounced, make, percent, say, throttled } from "./dom.js";
import { Means } from "./means.js";
import { columnsOf, matching, sorted } from "./rows.js";

const PAGE_ROWS = 25;
const REFRESH_MS = 200;

/** `explain(row)` gives the element that an opened row shows. */
export class TableView {
  constructor({ explain }) {
    Object.assign(this, { explain, rows: [], columns: [], table: null, drawn: [], opened: null });
    this.classes = new Classes();
    this.order = { key: "number", descending: false };
    this.page = 0;
    this.means = new Means();
    this.refreshSoon = throttled(() => this.refresh(), REFRESH_MS);
    this.body = byId("rows-body");
    const filter = () => this.turn(0);
    byId("filter-label").addEventListener("change", filter);
    byId("filter-text").addEventListener("input", debounced(filter, 150));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("earlier").addEventListener("click", () => this.turn(this.page - 1));
    byId("later").addEventListener("click", () => this.turn(this.page + 1));
    byId("download").addEventListener("click", () => this.download());
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.body.addEventListener("keydown", (event) => this.moved(event));
  }

  /** Takes the classes of the model, and shows the rows that are there anew. */
  setClasses(classes) {
    this.classes = classes;
    this.means.setAxis(classes.axis);
    const labels = [...(classes.kind === "binary" ? [...classes.names].reverse() : classes.names)];
    if (classes.thresholds) labels.push(UNSURE);
    byId("filter-label").replaceChildren(make("option", { value: "", text: "all" }),
      ...labels.map((label) => make("option", { value: `is ${label}`, text: classes.called(label) })),
      make("option", { value: "none", text: "not labelled" }));
    if (this.table) this.show(this.table, this.rows);
  }

  /** Shows rows; order and filters stay as they are when the columns do. */
  show(table, rows) {
    const names = JSON.stringify(table.columns);
    const same = this.table !== null && JSON.stringify(this.table.columns) === names;
    Object.assign(this, { table, rows, columns: columnsOf(table, this.classes), drawn: [], opened: null });
    if (!same) {
      this.order = { key: "number", descending: false };
      this.page = 0;
      byId("filters").reset();
    }
    this.body.replaceChildren();
    this.drawHead();
    this.means.choose(table, rows, this.columns);
    this.refresh();
  }

  /** Everything anew that labels may have changed. */
  refresh() {
    const filters = { label: byId("filter-label").value, query: byId("filter-text").value };
    const column = this.columns.find(({ key }) => key === this.order.key);
    this.found = sorted(matching(this.rows, filters), column, this.order.descending);
    this.page = Math.max(0, Math.min(this.page, Math.ceil(this.found.length / PAGE_ROWS) - 1));
    const shown = this.found.slice(this.page * PAGE_ROWS, (this.page + 1) * PAGE_ROWS);
    const same = shown.length === this.drawn.length && shown.every((row, at) => row === this.drawn[at]);
    if (same) this.drawn.forEach((row, at) => this.fillAnswer(this.lines[at], row));
    else this.drawBody(shown);
    this.drawSummary(shown.length);
    this.means.refresh();
  }

  turn(page) {
    this.page = page;
    this.refresh();
    say(byId("position").textContent);
  }

  sortBy(column) {
    const again = this.order.key === column.key;
    this.order = { key: column.key, descending: again && !this.order.descending };
    this.page = 0;
    this.markOrder();
    this.refresh();
    say(`Sorted by ${column.name}, ${this.order.descending ? "descending" : "ascending"}.`);
  }

  drawHead() {
    const cells = this.columns.map((column) => make("th", { scope: "col", class: `head-${column.key}` },
      make("button", { type: "button", on: { click: () => this.sortBy(column) } },
        make("bdi", { text: column.name }), make("span", { class: "arrow", "aria-hidden": "true" })),
    ));
    byId("rows-head").replaceChildren(make("tr", {}, ...cells));
    this.markOrder();
  }

  markOrder() {
    [...byId("rows-head").querySelectorAll("th")].forEach((cell, at) => {
      if (this.columns[at].key !== this.order.key) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", this.order.descending ? "descending" : "ascending");
    });
  }

  drawBody(shown) {
    const hadFocus = this.body.contains(document.activeElement);
    this.drawn = shown;
    this.lines = shown.map((row) => this.line(row));
    if (!shown.includes(this.opened?.row)) this.opened = null;
    this.body.replaceChildren(...this.lines);
    if (this.opened) this.attachDetail();
    this.rove(0, hadFocus);
  }

  line(row) {
    const line = make("tr", {},
      make("th", { scope: "row" }, make("button", {
        type: "button", class: "open", "aria-expanded": "false", "aria-label": `Row ${row.number}: show its words`,
        text: count(row.number),
      })),
      make("td", { class: "label" }),
      make("td", { class: "probability" }),
      ...(this.classes.kind === "stars" ? [make("td", { class: "expected" })] : []),
      make("td", { class: "text" }, make("div", { class: "clip", dir: "auto", text: row.text })),
      ...this.columns.filter(({ own }) => own).map(({ at, name }) => this.ownCell(row, at, name)),
    );
    this.fillAnswer(line, row);
    return line;
  }

  ownCell(row, at, name) {
    const cell = make("td", { class: "own" }, make("div", { class: "clip", dir: "auto", text: row.cells[at] }));
    cell.dataset.name = name;
    return cell;
  }

  fillAnswer(line, { prediction, problem }) {
    const [label, probability, expected] = [".label", ".probability", ".expected"].map((name) => line.querySelector(name));
    const state = prediction?.label ?? problem ?? "waiting";
    if (label.dataset.state === state) return;
    label.dataset.state = state;
    if (prediction) {
      label.replaceChildren(this.classes.chip(prediction.label));
      probability.textContent = percent(prediction.probability);
      expected?.replaceChildren(prediction.expected_star.toFixed(1));
    } else {
      label.replaceChildren(make("span", { class: "small", text: problem ? `not labelled: ${problem}` : "waiting" }));
      probability.textContent = "";
    }
  }

  /** How many rows have each label; for ordered classes also their mean. */
  drawLabels() {
    const { classes, rows } = this;
    const found = new Map([...classes.names, UNSURE].map((label) => [label, 0]));
    let [failed, open] = [0, 0];
    for (const { prediction, problem } of rows) {
      if (prediction) found.set(prediction.label, (found.get(prediction.label) ?? 0) + 1);
      else if (problem) failed += 1;
      else open += 1;
    }
    const labelled = rows.filter(({ prediction }) => prediction);
    const mean = labelled.reduce((sum, { prediction }) => sum + (classes.axis?.of(prediction) ?? 0), 0) / labelled.length;
    const [first, second] = classes.names;
    const parts = [
      ...(classes.isBinary ? [`${count(found.get(second))} ${second}`, `${count(found.get(first))} ${first}`] : []),
      classes.isBinary && found.get(UNSURE) > 0 ? `${count(found.get(UNSURE))} ${UNSURE}` : "",
      !classes.isBinary && classes.axis && labelled.length ? classes.axis.average(mean) : "",
      failed > 0 ? `${count(failed)} not labelled` : "",
      open > 0 ? `${count(open)} to go` : "",
    ].filter((part) => part !== "");
    byId("many-summary").textContent = `${counted(rows.length, "review")}${parts.length ? ":" : ""} ${parts.join(", ")}`.trim() + ".";
    const strip = byId("many-share");
    strip.hidden = !classes.isBinary;
    [first, second].forEach((label, at) => strip.children[at].style.setProperty("--share", found.get(label)));
    if (!classes.isBinary) this.drawShares(found, labelled.length);
  }

  drawShares(found, labelled) {
    const box = byId("many-classes");
    const entries = [...found].filter(([label, rows]) => label !== UNSURE || rows > 0 || this.classes.thresholds)
      .map(([label, rows]) => ({ label, share: rows / Math.max(1, labelled), text: count(rows) }));
    const open = box.querySelector("details")?.open ?? false;
    box.replaceChildren(bars(this.classes, entries, { open }));
  }

  drawSummary(shown) {
    this.drawLabels();
    const first = this.page * PAGE_ROWS;
    byId("position").textContent = shown === 0
      ? "No rows"
      : `${count(first + 1)}–${count(first + shown)} of ${count(this.found.length)}`;
    byId("no-rows").hidden = shown > 0;
    byId("earlier").disabled = this.page === 0;
    byId("later").disabled = first + shown >= this.found.length;
    byId("pages").hidden = this.rows.length <= PAGE_ROWS;
    const all = this.found.length === this.rows.length;
    byId("download").disabled = this.found.length === 0;
    byId("download").textContent = all ? "Download CSV" : `Download ${counted(this.found.length, "row")} as CSV`;
  }

  clicked(event) {
    const line = event.target.closest("tr");
    const at = this.lines.indexOf(line);
    if (at < 0 || getSelection().toString() !== "") return;
    this.rove(at, true);
    this.toggle(at);
  }

  /** Opens a row, or closes it when it is open. */
  async toggle(at) {
    const row = this.drawn[at];
    const again = this.opened?.row === row;
    if (this.opened) this.closeDetail();
    if (again) return;
    const cell = make("td", { colspan: this.columns.length }, make("p", { class: "small", text: "One moment …" }));
    const opened = { row, line: make("tr", { class: "detail" }, cell) };
    this.opened = opened;
    this.attachDetail();
    const content = await this.explain(row);
    cell.replaceChildren(content);
    this.refreshSoon(); // the row has an answer now, if it had none
  }

  attachDetail() {
    const line = this.lines[this.drawn.indexOf(this.opened.row)];
    line.querySelector(".open").setAttribute("aria-expanded", "true");
    line.classList.add("opened");
    line.after(this.opened.line);
  }

  closeDetail() {
    const line = this.lines[this.drawn.indexOf(this.opened.row)];
    line?.querySelector(".open").setAttribute("aria-expanded", "false");
    line?.classList.remove("opened");
    this.opened.line.remove();
    this.opened = null;
  }

  /** One stop of the Tab key for all rows; arrow keys move among them. */
  rove(at, focus) {
    const buttons = this.lines.map((line) => line.querySelector(".open"));
    buttons.forEach((button, index) => { button.tabIndex = index === at ? 0 : -1; });
    if (focus) buttons[at]?.focus({ preventScroll: true });
  }

  moved(event) {
    const at = this.lines.indexOf(event.target.closest("tr"));
    const last = this.lines.length - 1;
    const to = { ArrowDown: Math.min(last, at + 1), ArrowUp: Math.max(0, at - 1), Home: 0, End: last }[event.key];
    if (at < 0 || to === undefined || !event.target.matches(".open")) return;
    event.preventDefault();
    this.rove(to, true);
    this.lines[to].scrollIntoView({ block: "nearest" });
  }

  /** The columns of a download that come from predictions: name, and value of a prediction. */
  predicted() {
    const plain = (name) => [name, (prediction) => prediction[name]];
    const { isBinary, names, kind } = this.classes;
    return [
      plain("label"), plain("probability"),
      ...(isBinary
        ? [plain("positive_probability")]
        : probabilityColumns(names).map((column, at) => [column, ({ probabilities }) => probabilities[names[at]]])),
      ...(kind === "stars" ? [plain("expected_star")] : []),
      plain("truncated"), plain("unknown_share"),
    ];
  }

  download() {
    const own = this.table.columns;
    const predicted = this.predicted();
    const names = [...predicted.map(([name]) => name), "problem"].map((name) => (own.includes(name) ? `predicted_${name}` : name));
    const records = this.found.map(({ cells, prediction, problem }) => [
      ...cells.map(guarded),
      ...predicted.map(([, value]) => (prediction ? guarded(String(value(prediction))) : "")),
      problem ?? "",
    ]);
    const text = write([[...own.map(guarded), ...names], ...records]);
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    make("a", { href: address, download: `${this.table.name.replace(/\.[^.]*$/, "")}-labelled.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }
}

/** The same names of columns as `sentiscale predict --probabilities` gives. */
function probabilityColumns(names) {
  const columns = [];
  for (const name of names) {
    let column = `probability_${name.replace(/[^\p{L}\p{N}_]/gu, "_").toLowerCase()}`;
    while (columns.includes(column)) column += "_";
    columns.push(column);
  }
  return columns;
}
