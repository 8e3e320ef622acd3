/* The flow of a single review: a request for each pause in typing, the last one wins. */

import { byId, say } from "./dom.js";
import { explainOne } from "./explaining.js";
import { tooLong } from "./labelling.js";
import { spoken, verdict } from "./verdict.js";

export class One {
  /** `page` gives `about`, `classes`, `limits`, and takes onWait, onModel, onProblem. */
  constructor(page) {
    this.page = page;
    this.running = null;
  }

  async show(text) {
    this.stop();
    const running = new AbortController();
    this.running = running;
    const problem = tooLong(text, this.page.limits);
    if (problem) {
      this.clear();
      this.page.onProblem(problem);
      return;
    }
    byId("one").setAttribute("aria-busy", "true");
    try {
      const { signal } = running;
      const { onWait, limits } = this.page;
      const { prediction, model, note } = await explainOne(text, { signal, onWait, limits });
      if (signal.aborted) return;
      await this.page.onModel(model);
      if (signal.aborted) return;
      byId("one-result").replaceChildren(verdict(text, prediction, this.page, note));
      byId("one").hidden = false;
      say(spoken(prediction, this.page.classes));
    } catch (error) {
      if (running.signal.aborted) return;
      this.clear();
      this.page.onProblem(error.message, () => this.show(text));
    } finally {
      if (this.running === running) byId("one").removeAttribute("aria-busy");
    }
  }

  stop() {
    this.running?.abort();
    this.running = null;
    byId("one").removeAttribute("aria-busy");
    this.page.onWait("");
  }

  clear() {
    byId("one").hidden = true;
    byId("one-result").replaceChildren();
  }
}
