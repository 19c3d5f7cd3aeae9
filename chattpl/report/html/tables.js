// Tables that are sorted by a click on a heading: up, down, and back to the order of the report.

const NUMBER = /[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?/i;
const NOTHING = new Set(["", "–", "—", "-"]);
const byText = new Intl.Collator("en", { numeric: true });

/** Make every heading of the page's tables a button that sorts. */
function makeSortable() {
  for (const table of document.querySelectorAll("main table")) {
    const rows = [...table.tBodies[0]?.rows ?? []];
    for (const heading of table.tHead?.rows[0].cells ?? []) {
      const button = element("button", { type: "button" });
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading, rows));
    }
  }
}

/** Sort by the heading's column; `original` are the rows in the order of the report. */
function sort(table, heading, original) {
  const next = { ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")] ?? "ascending";
  for (const each of heading.parentElement.cells) each.removeAttribute("aria-sort");
  if (next !== "none") heading.setAttribute("aria-sort", next);
  const rows = next === "none" ? original : sorted(original, heading.cellIndex, next === "descending");
  table.tBodies[0].append(...rows);
}

/** The rows by one column, those without a value last whichever way. */
function sorted(rows, column, downwards) {
  const keyed = rows.map((row) => ({ row, text: row.cells[column].textContent.trim() }));
  const full = keyed.filter(({ text }) => !NOTHING.has(text));
  const numeric = rows[0]?.cells[column].classList.contains("number") && full.every(({ text }) => NUMBER.test(text));
  const compare = numeric
    ? (one, other) => toNumber(one.text) - toNumber(other.text)
    : (one, other) => byText.compare(one.text, other.text);
  full.sort(downwards ? (one, other) => compare(other, one) : compare);
  return [...full, ...keyed.filter(({ text }) => NOTHING.has(text))].map(({ row }) => row);
}

/** The first number of a field: 62.4 of "62.4 [58.1, 66.5]". A value below a bound sorts before the bound. */
function toNumber(text) {
  const [found] = text.match(NUMBER);
  const value = Number(found.replaceAll(",", "").replace("−", "-"));
  return text.includes("<") ? value - Number.EPSILON : value;
}

makeSortable();
