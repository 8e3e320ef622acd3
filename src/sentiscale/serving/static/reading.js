/* From pasted text or a file to a table: columns, rows, and which column holds the reviews. */

import { guessDelimiter, parse } from "./csv.js";
import { count, counted } from "./dom.js";

export const MOST_BYTES = 64 * 2 ** 20;

/** Usual names of columns, the surest first, as `prepare` and `predict` know them; compared without case and marks. */
const TEXT_NAMES = [
  "text", "review", "reviewtext", "content", "body", "comment", "sentence", "reviewbody",
  "reviews", "comments", "message", "feedback", "description", "summary", "title",
];
const TITLE_NAMES = ["title", "summary", "reviewtitle", "reviewheadline", "headline"];
const LONGEST_NAME = 60;
const NUMBER = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?%?\s*$/i;
const FASTTEXT = /^__label__(\S+)[ \t]+(.*)$/;

/**
 * A table: `columns` (names), `rows` (arrays of cells), `textColumn` and `titleColumn` (indices, the latter -1 for
 * none), and how it was read: `kind` ("lines", "delimited", "json"), `delimiter`, `header`, and `notes`, sentences
 * about what was unusual.
 */
const table = (parts) => ({
  kind: "lines", delimiter: null, header: null, notes: [], textColumn: 0, titleColumn: -1, ...parts,
});

/** The characters of a file: UTF-8, UTF-16 with its mark, or else Windows' Western European. */
export async function readFile(file) {
  if (file.size > MOST_BYTES) {
    throw new Error(
      `${file.name} has ${count(Math.round(file.size / 2 ** 20))} MB; this page takes ${MOST_BYTES / 2 ** 20}. ` +
        `For more, use the command: sentiscale predict MODEL ${file.name} --out labelled.csv`,
    );
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = decoded(bytes);
  if (text.slice(0, 4096).includes("\0")) {
    throw new Error(`${file.name} is not a text file. This page takes .txt, .csv, .tsv and .jsonl.`);
  }
  return text;
}

function decoded(bytes) {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le").decode(bytes);
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

/** The table in a file's text. `chosen` may set delimiter, header and the two columns, which are guessed otherwise. */
export function readTable(text, name, chosen = {}, classes = undefined) {
  const ending = name.toLowerCase().match(/\.([a-z]+)$/)?.[1] ?? "";
  if (["jsonl", "ndjson", "json"].includes(ending)) return withReviews(jsonTable(text), chosen);
  if (["csv", "tsv", "tab"].includes(ending) || looksLikeTable(text)) {
    return withReviews(delimitedTable(text, ending, chosen), chosen);
  }
  return linesTable(text, classes);
}

/** Reviews, one a line; fastText's `__label__2 text` becomes two columns, in words where the model's `kind` has them. */
export function linesTable(text, { kind } = { kind: "binary" }) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\n|\r/).filter((line) => line.trim() !== "");
  const labelled = lines.map((line) => line.match(FASTTEXT));
  if (lines.length > 0 && labelled.every((match) => match !== null)) {
    const given = kind === "binary" ? { 1: "negative", 2: "positive" } : {};
    const rows = labelled.map(([, label, review]) => [given[label] ?? label, review]);
    return table({ columns: ["given label", "text"], rows, textColumn: 1 });
  }
  return table({ columns: ["text"], rows: lines.map((line) => [line]) });
}

/** Whether pasted text is a table with a heading that names a column of reviews. */
export function looksLikeTable(text) {
  const { delimiter, even } = guessDelimiter(text);
  const [names, ...rest] = parse(text.slice(0, 65536), delimiter, { most: 50 }).records;
  if (rest.length === 0 || names.length < 2 || even < 0.9) return false;
  return hasHeader([names, ...rest]) && names.some((name) => TEXT_NAMES.includes(plain(name)));
}

function delimitedTable(text, ending, chosen) {
  const delimiter = chosen.delimiter ?? (ending === "tsv" || ending === "tab" ? "\t" : guessDelimiter(text).delimiter);
  const notes = [];
  let { records, openQuote } = parse(text, delimiter);
  if (openQuote !== null && delimiter === "\t") {
    ({ records } = parse(text, delimiter, { quotes: false })); // tab-separated files often do not quote at all
  } else if (openQuote !== null) {
    notes.push(`The quote that opens in record ${count(openQuote)} is never closed: all that follows is one cell.`);
  }
  const header = chosen.header ?? hasHeader(records);
  const width = header ? records[0].length : records.reduce((most, record) => Math.max(most, record.length), 0);
  const names = header ? records[0] : publishedNames(records);
  const rows = records.slice(header ? 1 : 0);
  const uneven = rows.filter((row) => row.length !== width).length;
  if (uneven > 0 && header) {
    notes.push(`${counted(uneven, "row")} with more or fewer cells than the first line has names: filled up or cut.`);
  }
  const columns = distinct(Array.from({ length: width }, (_, at) => names[at]?.trim() || `column ${at + 1}`));
  const even = rows.map((row) => columns.map((_, at) => row[at] ?? ""));
  return table({ kind: "delimited", columns, rows: even, delimiter, header, notes });
}

function jsonTable(text) {
  const notes = [];
  const columns = [];
  const known = new Set();
  const objects = jsonValues(text, notes).map((value) => {
    const object = value !== null && typeof value === "object" && !Array.isArray(value) ? value : { text: value };
    for (const name of Object.keys(object)) {
      if (!known.has(name)) columns.push(name);
      known.add(name);
    }
    return object;
  });
  const rows = objects.map((object) => columns.map((name) => cellOf(Object.hasOwn(object, name) ? object[name] : "")));
  return table({ kind: "json", columns, rows, notes });
}

function jsonValues(text, notes) {
  const whole = text.replace(/^\ufeff/, "").trim();
  if (whole.startsWith("[")) {
    try {
      return JSON.parse(whole);
    } catch { /* perhaps arrays, one a line */ }
  }
  const values = [];
  let bad = 0;
  for (const line of whole.split(/\r\n|\n/)) {
    if (line.trim() === "") continue;
    try {
      values.push(JSON.parse(line));
    } catch {
      bad += 1;
    }
  }
  if (bad > 0) notes.push(`${counted(bad, "line")} left out: not JSON.`);
  return values;
}

const cellOf = (value) => (typeof value === "string" ? value : value === null ? "" : JSON.stringify(value));

/** The columns of the published review sets, which have no header: label or stars, title, text. */
function publishedNames(records) {
  const fits = records.length > 0 && records.every((cells) => cells.length === 3 && /^[1-5]$/.test(cells[0]));
  if (!fits) return [];
  return [records.every(([first]) => first <= "2") ? "label" : "stars", "title", "text"];
}

function withReviews(read, chosen) {
  const given = (at) => at !== undefined && at < read.columns.length;
  const textColumn = given(chosen.textColumn) ? chosen.textColumn : guessTextColumn(read);
  const titleColumn = given(chosen.titleColumn) ? chosen.titleColumn : guessTitleColumn(read);
  return { ...read, textColumn, titleColumn: titleColumn === textColumn ? -1 : titleColumn };
}

function guessTitleColumn({ columns }) {
  const names = columns.map(plain);
  const found = TITLE_NAMES.find((name) => names.includes(name));
  return found === undefined ? -1 : names.indexOf(found);
}

/** The column with the surest name, unless it holds numbers; else the one with the longest cells. */
function guessTextColumn({ columns, rows }) {
  const sample = rows.slice(0, 200);
  const isText = (at) => !sample.every((row) => NUMBER.test(row[at]) || row[at] === "");
  const names = columns.map(plain);
  for (const name of TEXT_NAMES) {
    const at = names.indexOf(name);
    if (at >= 0 && isText(at)) return at;
  }
  const lengths = columns.map((_, at) => sample.reduce((sum, row) => sum + row[at].length, 0));
  return Math.max(0, lengths.indexOf(Math.max(...lengths)));
}

/** Whether the first record names the columns: short, distinct, no numbers; a single column must be well known. */
function hasHeader(records) {
  const names = (records[0] ?? []).map((name) => name.trim());
  if (names.length < 2) return records.length > 1 && TEXT_NAMES.includes(plain(names[0] ?? ""));
  const short = names.every((name) => name.length <= LONGEST_NAME && !NUMBER.test(name) && !name.includes("\n"));
  const filled = names.filter((name) => name !== "");
  return records.length > 1 && short && filled.length > 0 && new Set(filled).size === filled.length;
}

const plain = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");

function distinct(names) {
  const seen = new Map();
  return names.map((name) => {
    const times = (seen.get(name) ?? 0) + 1;
    seen.set(name, times);
    return times === 1 ? name : `${name} (${times})`;
  });
}
