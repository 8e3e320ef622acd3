/* Delimiter-separated text as RFC 4180 has it: reading, guessing the delimiter, writing. */

export const DELIMITERS = { comma: ",", tab: "\t", semicolon: ";", bar: "|" };

/**
 * The records of `text`, each an array of cells. Quoted cells may hold delimiters, line ends and doubled
 * quotes; lines end in LF, CRLF or CR; a byte order mark and empty lines are passed over. Lenient where files
 * are: a quote inside an unquoted cell is a character like others.
 * `openQuote` is the record whose quote is never closed, counted from 1, or null.
 */
export function parse(text, delimiter = ",", { quotes = true, most = Infinity } = {}) {
  const records = [];
  const stop = delimiter.charCodeAt(0);
  let cells = [];
  let openQuote = null;
  let at = text.charCodeAt(0) === 0xfeff ? 1 : 0;
  while (at < text.length || cells.length > 0) {
    let cell = "";
    if (quotes && text[at] === '"') {
      const quoted = quotedCell(text, at);
      cell = quoted.cell;
      at = quoted.end;
      if (!quoted.closed) openQuote = records.length + 1;
    }
    const end = endOfCell(text, at, stop);
    cells.push(cell + text.slice(at, end));
    at = end + 1;
    if (text.charCodeAt(end) === stop) continue; // an empty last cell follows even at the end of the text
    if (text[end] === "\r" && text[at] === "\n") at += 1;
    if (cells.length > 1 || cells[0] !== "") records.push(cells);
    cells = [];
    if (records.length >= most) break;
  }
  return { records, openQuote };
}

function quotedCell(text, start) {
  let cell = "";
  let from = start + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return { cell: cell + text.slice(from), end: text.length, closed: false };
    cell += text.slice(from, quote);
    if (text[quote + 1] !== '"') return { cell, end: quote + 1, closed: true };
    cell += '"';
    from = quote + 2;
  }
}

function endOfCell(text, start, delimiter) {
  for (let at = start; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === delimiter || code === 10 || code === 13) return at;
  }
  return text.length;
}

/** The delimiter by which most of the first records are as wide as the first one, and `even`, that share. */
export function guessDelimiter(text) {
  let best = { delimiter: ",", even: 0, score: 0 };
  for (const delimiter of Object.values(DELIMITERS)) {
    const { records } = parse(text.slice(0, 65536), delimiter, { most: 50 });
    const width = records[0]?.length ?? 0;
    const even = records.filter((record) => record.length === width).length / Math.max(1, records.length);
    const score = width < 2 ? 0 : even + width / 1000;
    if (score > best.score) best = { delimiter, even, score };
  }
  return best;
}

/** Records as CSV text, with the byte order mark by which spreadsheets know UTF-8. */
export function write(records) {
  return `\ufeff${records.map((record) => `${record.map(quote).join(",")}\r\n`).join("")}`;
}

function quote(cell) {
  return /[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

const FORMULA = /^(?:\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/;
const NUMBER = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?%?\s*$/i;

/**
 * A cell that somebody else wrote, made safe for spreadsheets: what they would run as a formula gets a ' in
 * front (OWASP, "CSV injection"). Numbers such as -3.5 are no formulas and stay as they are.
 */
export function guarded(cell) {
  return FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell;
}
