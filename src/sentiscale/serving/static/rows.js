/* The rows of a table as plain values: which match, in what order, and means by the values of a column. */

const NUMBER = /^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*$/i;
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Rows to be labelled, from a table that was read; `number` counts from 1. */
export function rowsOf({ rows, textColumn, titleColumn }) {
  return rows.map((cells, at) => ({
    number: at + 1, cells, text: titled(cells[textColumn], cells[titleColumn]),
    prediction: null, problem: null, settled: false,
  }));
}

/** `title: text`, or the one that is there, as `prepare` joins them. */
const titled = (text, title = "") => (title && text ? `${title}: ${text}` : title || text);

/** Columns by which rows are shown and sorted; the file's own follow ours, those of the text aside. */
export function columnsOf({ columns, rows, textColumn, titleColumn }, { names, kind, axis }) {
  const place = axis?.of ?? (({ label }) => (names.includes(label) ? names.indexOf(label) : names.length));
  const own = columns
    .map((name, at) => ({ key: `own${at}`, name, at, value: ownValue(rows, at), own: true }))
    .filter(({ at }) => at !== textColumn && at !== titleColumn);
  return [
    { key: "number", name: "#", value: (row) => row.number },
    { key: "label", name: "Label", value: (row) => (row.prediction ? place(row.prediction) : null) },
    { key: "probability", name: "Probability", value: (row) => row.prediction?.probability ?? null },
    ...(kind === "stars"
      ? [{ key: "expected", name: "Expected", value: (row) => row.prediction?.expected_star ?? null }]
      : []),
    { key: "text", name: "Text", value: (row) => row.text },
    ...own,
  ];
}

/** What a cell of one's own column is sorted by: a number where the whole column is, else the text. */
function ownValue(rows, at) {
  const filled = rows.filter((cells) => cells[at].trim() !== "");
  const numeric = filled.length > 0 && filled.every((cells) => NUMBER.test(cells[at]));
  return ({ cells }) => {
    if (cells[at].trim() === "") return null;
    return numeric ? Number(cells[at]) : cells[at];
  };
}

/** Rows that have this label ("" for all, "none", or "is " and a label) and whose text holds the words searched for. */
export function matching(rows, { label, query }) {
  const wanted = query.trim().toLowerCase();
  return rows.filter((row) => {
    const has = row.prediction ? `is ${row.prediction.label}` : "none";
    return (label === "" || has === label) && (wanted === "" || row.text.toLowerCase().includes(wanted));
  });
}

/** Rows in the order of a column; equal ones as they came, empty ones last in either direction. */
export function sorted(rows, column, descending) {
  const sign = descending ? -1 : 1;
  return rows
    .map((row) => ({ row, value: column.value(row) }))
    .sort((one, other) => {
      if (one.value === null || other.value === null) return (one.value === null) - (other.value === null);
      return sign * compare(one.value, other.value) || one.row.number - other.row.number;
    })
    .map(({ row }) => row);
}

function compare(one, other) {
  return typeof one === "number" ? one - other : collator.compare(one, other);
}

/**
 * For each value of one's own column, by number of rows: `value`, `rows` labelled, their `mean` on the axis, and
 * `upper`, how many have a label at its upper end. Rows without a prediction are left out.
 */
export function groups(rows, column, axis) {
  const found = new Map();
  for (const { cells, prediction } of rows) {
    if (!prediction) continue;
    const value = cells[column.at].trim();
    const group = found.get(value) ?? { value, rows: 0, sum: 0, upper: 0 };
    group.rows += 1;
    group.sum += axis.of(prediction);
    group.upper += axis.upper.includes(prediction.label) ? 1 : 0;
    found.set(value, group);
  }
  return [...found.values()]
    .map((group) => ({ ...group, mean: group.sum / group.rows }))
    .sort((one, other) => other.rows - one.rows || collator.compare(one.value, other.value));
}
