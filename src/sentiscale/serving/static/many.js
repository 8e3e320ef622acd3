/* The flow of many reviews: labelling with progress, cancel and going on; the table above it all. */

import { byId, count, counted, make, say } from "./dom.js";
import { explainOne } from "./explaining.js";
import { Labelling } from "./labelling.js";
import { rowsOf } from "./rows.js";
import { TableView } from "./table.js";
import { verdict } from "./verdict.js";

const SHOW_PROGRESS_MS = 300;

export class Many {
  /** `page` gives `about`, `classes`, `limits`, and takes onWait, onModel, onProblem. */
  constructor(page) {
    this.page = page;
    this.labelling = null;
    this.view = new TableView({ explain: (row) => this.explain(row) });
    byId("cancel").addEventListener("click", () => this.labelling?.cancel());
    byId("go-on").addEventListener("click", () => this.label(true));
  }

  setClasses(classes) {
    this.view.setClasses(classes);
  }

  /** Shows a table and labels its rows. */
  async show(table) {
    this.stop();
    const { limits, onWait, onModel } = this.page;
    const rows = rowsOf(table);
    byId("many").hidden = false;
    this.labelling = new Labelling(rows, { limits, onWait, onModel, onChange: () => this.changed() });
    this.view.show(table, rows);
    await this.label(false);
  }

  async label(again) {
    const labelling = this.labelling;
    this.page.onProblem("");
    if (again) labelling.forgive();
    byId("go-on").hidden = true;
    const timer = setTimeout(() => { byId("progress").hidden = false; }, SHOW_PROGRESS_MS);
    this.changed();
    try {
      const how = await labelling.run();
      if (this.labelling === labelling) this.finished(how);
    } catch (error) {
      if (this.labelling === labelling) this.finished("stopped", error.message);
    } finally {
      clearTimeout(timer);
      if (this.labelling === labelling) byId("progress").hidden = true;
    }
  }

  finished(how, problem = "") {
    const { done, failed, rows } = this.labelling;
    const left = rows.length - done;
    this.view.refresh();
    if (how === "done" && failed === 0) {
      say(byId("many-summary").textContent);
      return;
    }
    const missing = left > 0 ? `${counted(left, "review")} not labelled yet.` : `${counted(failed, "review")} could not be labelled.`;
    const again = byId("go-on");
    again.hidden = false;
    again.textContent = left > 0 ? "Go on" : "Try these again";
    if (problem) this.page.onProblem(`${problem} ${missing}`);
    else say(`${how === "cancelled" ? "Stopped. " : ""}${missing}`);
  }

  changed() {
    if (!this.labelling) return;
    const { done, rows } = this.labelling;
    const bar = byId("progress-bar");
    bar.max = Math.max(1, rows.length);
    bar.value = done;
    byId("progress-text").textContent = `${count(done)} of ${count(rows.length)}`;
    this.view.refreshSoon();
  }

  /** The words of an opened row; its label too where it had none. */
  async explain(row) {
    if (row.explained) return row.explained;
    const { onWait, limits } = this.page;
    try {
      const { prediction, model, note } = await explainOne(row.text, { onWait, limits });
      await this.page.onModel(model);
      if (row.problem === null) row.prediction ??= prediction;
      row.explained = verdict(row.text, prediction, this.page, note);
      return row.explained;
    } catch (error) {
      return make("p", { class: "problem-text", text: error.message });
    }
  }

  stop() {
    const running = this.labelling;
    this.labelling = null;
    running?.cancel();
    byId("progress").hidden = true;
    byId("go-on").hidden = true;
  }

  clear() {
    byId("many").hidden = true;
  }
}
