/* Mean sentiment by the values of a column: bars around the middle of the axis, with counts. */

import { byId, count, counted, make, percent } from "./dom.js";
import { groups } from "./rows.js";

const FIRST_VALUES = 20;
const FEWEST_ROWS = 2;

const ORDERS = {
  value: (one, other) => Number(one.value) - Number(other.value) || one.value.localeCompare(other.value, "en"),
  rows: () => 0, // as they come
  low: (one, other) => one.mean - other.mean,
  high: (one, other) => other.mean - one.mean,
};

export class Means {
  constructor() {
    this.all = false;
    this.axis = null;
    byId("means-column").addEventListener("change", () => this.chosen());
    byId("means-order").addEventListener("change", () => this.refresh());
    byId("means-all").addEventListener("click", () => {
      this.all = true;
      this.refresh();
    });
  }

  /** Without an axis, the section stays away. */
  setAxis(axis) {
    this.axis = axis;
    if (!axis) return;
    byId("means-caption").textContent = `${axis.meaning} by the values of the chosen column`;
    byId("means-upper").textContent = axis.upperTitle;
    [...byId("means-ends").children].forEach((end, at) => { end.textContent = axis.ends[at]; });
    ["low", "high"].forEach((end, at) => {
      byId("means-order").querySelector(`[value=${end}]`).textContent = axis.most[at];
    });
  }

  /** Offers the columns of `table` that group rows; the section stays away where none does. */
  choose(table, rows, columns) {
    this.rows = rows;
    this.columns = columns.filter((column) => this.axis && column.own && groupsRows(table.rows, column.at));
    byId("means").hidden = this.columns.length === 0;
    const select = byId("means-column");
    const before = select.value;
    select.replaceChildren(...this.columns.map(({ key, name }) => make("option", { value: key, text: name })));
    if (this.columns.some(({ key }) => key === before)) select.value = before;
    this.chosen();
  }

  chosen() {
    this.all = false;
    const column = this.column();
    if (!column) return;
    const numeric = this.rows.every((row) => typeof column.value(row) !== "string");
    byId("means-order").value = numeric ? "value" : "rows";
    this.refresh();
  }

  column() {
    return this.columns.find(({ key }) => key === byId("means-column").value);
  }

  refresh() {
    const column = this.column();
    if (!column) return;
    const found = groups(this.rows, column, this.axis).sort(ORDERS[byId("means-order").value]);
    const shown = this.all ? found : found.slice(0, FIRST_VALUES);
    byId("means-body").replaceChildren(...shown.map((group) => bar(group, this.axis)));
    byId("means-all").hidden = shown.length === found.length;
    byId("means-all").textContent = `Show all ${counted(found.length, "value")}`;
  }
}

/** Whether a column has fewer values than half of its rows, and more than one. */
function groupsRows(rows, at) {
  const values = new Set(rows.map((cells) => cells[at].trim()));
  return values.size > 1 && values.size * FEWEST_ROWS <= rows.length;
}

function bar({ value, rows, mean, upper }, { low, high, show }) {
  const place = (mean - low) / (high - low);
  const side = place < 0.5 ? "negative" : "positive";
  return make("tr", {},
    make("th", { scope: "row" }, make("bdi", { text: value || "(empty)" })),
    make("td", { class: "bar" }, make("span", {
      class: `beam ${side}`, "aria-hidden": "true",
      vars: { "--from": `${Math.min(place, 0.5) * 100}%`, "--wide": `${Math.abs(place - 0.5) * 100}%` },
    })),
    make("td", { class: "number", text: show(mean) }),
    make("td", { class: "number", text: count(rows) }),
    make("td", { class: "number", text: percent(upper / rows, 0) }),
  );
}
