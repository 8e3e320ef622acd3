/* Many reviews to the server: in batches within its limits, a few at a time; stops, goes on, survives errors. */

import { call, Refused } from "./api.js";
import { count } from "./dom.js";

const MOST_TEXTS = 128; // of a batch
const LEAST_TEXTS = 4;
const QUICK_MS = 400; // batches grow while answers come within this time, and shrink when they take longer than …
const SLOW_MS = 1600; // … this, so that progress shows and other requests get through
const AT_ONCE = 2;
const BODY_SHARE = 0.9;
const MOST_KNOWN = 50000;
const MOST_FAULTS = 5;

/** Predictions by text, so that no review is sent twice; forgets the oldest. */
const known = new Map();

function remember(text, prediction) {
  if (known.size >= MOST_KNOWN) known.delete(known.keys().next().value);
  known.set(text, prediction);
}

/** Forgets all predictions: another model answers now. */
export const forget = () => known.clear();

/** What the server takes, or a cautious guess where it has not said. */
export const DEFAULT_LIMITS = { texts: 32, characters: 10000, body_bytes: 262144, explain_texts: 1 };

/**
 * Labels rows: fills `row.prediction`, or `row.problem` with a sentence and `row.settled` if it cannot change.
 * `onChange()` is called after each answer, `onWait(sentence)` while the server is busy.
 */
export class Labelling {
  constructor(rows, { limits, onChange, onWait, onModel }) {
    Object.assign(this, { rows, limits, onChange, onWait, onModel });
    for (const row of rows) row.prediction = known.get(row.text) ?? null;
    this.done = rows.length - this.waiting().length;
    this.failed = 0;
    this.faults = 0; // answers 500 and above for single reviews, one after the other
    this.size = 32;
    this.stopper = new AbortController();
    this.units = new TextEncoder();
  }

  waiting() {
    return this.rows.filter((row) => !row.prediction && !row.problem);
  }

  /** Rows that the server refused wait again; those that it can never take do not. */
  forgive() {
    for (const row of this.rows) row.problem = row.settled ? row.problem : null;
    this.failed = 0;
    this.faults = 0;
    this.done = this.rows.length - this.waiting().length;
  }

  cancel() {
    this.stopper.abort();
  }

  /** Labels what is waiting; returns "done" or "cancelled". Throws Unavailable or a Refused that concerns all. */
  async run() {
    this.stopper = new AbortController();
    const batches = this.batches();
    const work = Array.from({ length: AT_ONCE }, () => this.work(batches));
    try {
      await Promise.all(work);
      return "done";
    } catch (error) {
      const cancelled = this.stopper.signal.aborted;
      this.stopper.abort(); // the others stop too
      await Promise.allSettled(work);
      if (cancelled) return "cancelled";
      throw error;
    } finally {
      this.onWait("");
      this.onChange();
    }
  }

  async work(batches) {
    for (const batch of batches) {
      await this.label(batch);
      this.onChange();
    }
  }

  /** Rows by batch; what is empty or too long is settled on the way. */
  *batches() {
    let batch = [];
    let bytes = 0;
    for (const row of this.waiting()) {
      const size = this.settle(row);
      if (size === 0) continue;
      const full = batch.length >= Math.min(this.size, this.limits.texts);
      if (full || (batch.length > 0 && bytes + size > this.limits.body_bytes * BODY_SHARE)) {
        yield batch;
        batch = [];
        bytes = 0;
      }
      batch.push(row);
      bytes += size;
    }
    if (batch.length > 0) yield batch;
  }

  /** The bytes a row takes in a request; 0 where it needs none. */
  settle(row) {
    const problem = row.text.trim() === "" ? "No text." : tooLong(row.text, this.limits);
    const size = this.units.encode(JSON.stringify(row.text)).length + 1;
    if (problem || size > this.limits.body_bytes * BODY_SHARE) {
      row.settled = true;
      this.finish(row, { problem: problem || "Too large for one request." });
      return 0;
    }
    return size;
  }

  /** One batch; one that is refused is cut in two, so that a single review cannot spoil its neighbours. */
  async label(batch) {
    const texts = batch.map((row) => row.text.toWellFormed?.() ?? row.text);
    const started = performance.now();
    try {
      const answer = await call("v1/predict", {
        body: { texts }, signal: this.stopper.signal, onWait: this.onWait,
      });
      this.adapt(performance.now() - started);
      await this.onModel(answer.model);
      this.faults = 0;
      batch.forEach((row, at) => {
        remember(row.text, answer.predictions[at]);
        this.finish(row, { prediction: answer.predictions[at] });
      });
    } catch (error) {
      this.adapt(performance.now() - started);
      if (!(error instanceof Refused) || [401, 403, 404].includes(error.status)) throw error;
      this.faults += batch.length === 1 && error.status >= 500 ? 1 : 0;
      if (this.faults >= MOST_FAULTS) throw error; // not the reviews, but the server
      if (batch.length === 1) {
        this.finish(batch[0], { problem: error.message });
        return;
      }
      const half = Math.ceil(batch.length / 2);
      await this.label(batch.slice(0, half));
      await this.label(batch.slice(half));
    }
  }

  adapt(milliseconds) {
    if (milliseconds > SLOW_MS) this.size = Math.max(LEAST_TEXTS, Math.floor(this.size / 2));
    if (milliseconds < QUICK_MS) this.size = Math.min(MOST_TEXTS, this.size * 2);
  }

  finish(row, { prediction = null, problem = null }) {
    row.prediction = prediction;
    row.problem = problem;
    this.done += 1;
    if (problem && !row.settled) this.failed += 1;
  }
}

/** A sentence where a review is longer than the server takes, else "". Lengths are in Unicode code points. */
export function tooLong(text, { characters }, verb = "takes") {
  if (text.length <= characters) return ""; // code points are never more than UTF-16 units
  const length = [...text].length;
  return length <= characters ? "" : `Too long: ${count(length)} characters; the server ${verb} at most ${count(characters)}.`;
}
