// Which samples are listed.
//
// An item is a question, the number of the answer to it, and the row of that answer in each chosen cell (-1 where a
// cell has none). Its heap says by bits which of the cells are right, or is null where that is not known of all.

const LETTERS = "ABCD"; // at most four cells side by side

/** Whether the answer in that row is right by the rule (a bit); null where there is none, or it was not so graded. */
function isRight(cell, row, rule) {
  if (row < 0 || !(cell.known[row] & (1 << rule))) return null;
  return Boolean(cell.right[row] & (1 << rule));
}

/** The items of the cells, in the order of the questions. */
function pairUp(cells, rule) {
  const items = new Map();
  for (const [place, cell] of cells.entries()) {
    for (let row = 0; row < cell.question.length; row++) {
      const key = cell.question[row] * 65536 + cell.answer[row];
      if (!items.has(key)) {
        items.set(key, { question: cell.question[row], answer: cell.answer[row], rows: cells.map(() => -1) });
      }
      items.get(key).rows[place] = row;
    }
  }
  const inOrder = [...items.keys()].sort((one, other) => one - other).map((key) => items.get(key));
  for (const item of inOrder) item.heap = heapOf(item, cells, rule);
  return inOrder;
}

function heapOf(item, cells, rule) {
  const right = item.rows.map((row, place) => isRight(cells[place], row, rule));
  return right.includes(null) ? null : right.reduce((sum, each, place) => sum + (each ? 1 << place : 0), 0);
}

/** What a heap of `count` cells is called. */
function heapName(heap, count) {
  const all = (1 << count) - 1;
  if (heap === null) return "not in all of them";
  if (count === 1) return heap ? "right" : "wrong";
  if (heap === all) return count === 2 ? "both right" : "all right";
  if (heap === 0) return count === 2 ? "both wrong" : "all wrong";
  const right = [...LETTERS.slice(0, count)].filter((_, place) => heap & (1 << place));
  return `only ${right.join(", ")} right`;
}

/** The heaps of `count` cells, those with more right answers first. */
function heapsOf(count) {
  const right = (heap) => heap.toString(2).replaceAll("0", "").length;
  return [...Array(1 << count).keys()].sort((one, other) => right(other) - right(one) || one - other).concat(null);
}

/** The search as a regular expression, or null for none. Throws SyntaxError where it is none. */
function searchFor(text, isRegex) {
  return text ? new RegExp(isRegex ? text : text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi") : null;
}

/**
 * A function that says whether an item passes the filters, whatever its heap: whether one answer has all that is asked
 * of answers. The search may be found in that answer or in the question.
 */
function filterBy(filters, study, cells, search) {
  const places = cells.map((_, place) => place).filter((place) => filters.of === "" || place === Number(filters.of));
  const found = (text) => text.search(search) >= 0;
  const hasFlag = (cell, row, flag, wanted) => wanted === "" || Boolean(cell.flags[row] & flag) === (wanted === "1");
  const passes = (cell, row) =>
    (filters.stop === "" || cell.stop[row] === Number(filters.stop)) &&
    (filters.kind === "" || cell.kind[row] === Number(filters.kind)) &&
    hasFlag(cell, row, RUN_ON, filters.run_on);
  const says = (cell, row) => found(cell.output[row]) || found(cell.thought[row] ?? "");
  const asks = ({ text, gold }) => found(text) || found(gold);
  return (item) => {
    const passed = places.filter((place) => item.rows[place] >= 0 && passes(cells[place], item.rows[place]));
    if (search === null || passed.length === 0) return passed.length > 0;
    if (filters.where !== "answers" && asks(study.questions[item.question])) return true;
    return filters.where !== "question" && passed.some((place) => says(cells[place], item.rows[place]));
  };
}
