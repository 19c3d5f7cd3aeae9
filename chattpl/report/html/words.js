// Inside an answer: the words that another answer does not have, and the place where the extracted answer stands.
//
// Ranges are pairs [start, end] of places in a text, in order, without overlap.

const MOST_WORDS = 6000; // of one text; longer ones are shown without a diff
const MOST_EDITS = 2000; // words that differ; beyond, the two texts have little in common and the diff says nothing
const MOST_HITS = 1000; // of a search, marked in one text

/** The ranges of the words in a text; null where there are more than MOST_WORDS. */
function wordsOf(text) {
  const words = [];
  for (const { 0: word, index } of text.matchAll(/[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu)) {
    if (words.length === MOST_WORDS) return null;
    words.push([index, index + word.length]);
  }
  return words;
}

/** For each of two texts the ranges that the other lacks; null where they are too long or too unlike. */
function differences(first, second) {
  const words = [wordsOf(first), wordsOf(second)];
  if (words.includes(null)) return null;
  const lists = words.map((ranges, text) => ranges.map(([start, end]) => [first, second][text].slice(start, end)));
  const unmatched = unmatchedWords(...lists);
  return unmatched && unmatched.map((places, text) => joined(words[text], places));
}

/** The words of each list, by their places, that are not in the longest common subsequence. */
function unmatchedWords(first, second) {
  let start = 0, end = 0;
  const shorter = Math.min(first.length, second.length);
  while (start < shorter && first[start] === second[start]) start++;
  while (end < shorter - start && first.at(-1 - end) === second.at(-1 - end)) end++;
  const [one, other] = [first, second].map((list) => list.slice(start, list.length - end));
  const edits = shortestEdits(one, other);
  return edits && edits.map((places) => places.map((place) => place + start));
}

/**
 * Myers' greedy algorithm (1986, doi 10.1007/BF01840446): the places deleted from `one` and inserted from `other`.
 * After d edits, reach[k] is how far into `one` the path on diagonal k = x - y has come.
 */
function shortestEdits(one, other) {
  const most = Math.min(one.length + other.length, MOST_EDITS), middle = most + 1;
  const reach = new Int32Array(2 * most + 3), history = [];
  for (let edits = 0; edits <= most; edits++) {
    history.push(reach.slice(middle - edits - 1, middle + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const inserts = k === -edits || (k !== edits && reach[middle + k - 1] < reach[middle + k + 1]);
      let x = inserts ? reach[middle + k + 1] : reach[middle + k - 1] + 1;
      while (x < one.length && x - k < other.length && one[x] === other[x - k]) x++;
      reach[middle + k] = x;
      if (x >= one.length && x - k >= other.length) return walkBack(history, one.length, other.length);
    }
  }
  return null;
}

function walkBack(history, x, y) {
  const deleted = [], inserted = [];
  for (let edits = history.length - 1; edits > 0; edits--) {
    const reach = (k) => history[edits][k + edits + 1];
    const k = x - y;
    const inserts = k === -edits || (k !== edits && reach(k - 1) < reach(k + 1));
    x = reach(inserts ? k + 1 : k - 1);
    y = x - (inserts ? k + 1 : k - 1);
    (inserts ? inserted : deleted).push(inserts ? y : x);
  }
  return [deleted.reverse(), inserted.reverse()];
}

/** The ranges of those words, neighbours as one. */
function joined(words, places) {
  const ranges = [];
  for (const [number, place] of places.entries()) {
    if (number > 0 && places[number - 1] === place - 1) ranges.at(-1)[1] = words[place][1];
    else ranges.push([...words[place]]);
  }
  return ranges;
}

/**
 * Where the extracted answer stands in an output, as a list of one range or none. It is searched for: results.json does
 * not keep the place. Of several the first after "####", in a box or after "answer", else the last.
 */
function findExtracted(output, extracted) {
  if (!extracted) return [];
  const found = /^-?[\d.,]+$/.test(extracted) ? placesOfNumber(output, extracted) : placesOfText(output, extracted);
  const before = ([start]) => output.slice(Math.max(0, start - 80), start);
  const stated = found.find((range) => /(####|\\boxed\{|answer)[^\n]*$/i.test(before(range)));
  return [stated ?? found.at(-1)].filter(Boolean);
}

function placesOfNumber(output, extracted) {
  const wanted = written(extracted.replace("-", ""));
  return [...output.matchAll(/\d+(?:[,\u00a0\u202f]\d{3})*(?:\.\d+)?|\.\d+/g)]
    .filter(([number]) => number.length < 2 * wanted.length + 20 && written(number) === wanted)
    .map(({ 0: number, index }) => [index, index + number.length]);
}

/** A number without separators and idle zeros. */
function written(number) {
  const [whole, fraction = ""] = number.replace(/[,\s]/g, "").split(".");
  const digits = fraction.replace(/0+$/, "");
  return (whole.replace(/^0+/, "") || "0") + (digits && `.${digits}`);
}

function placesOfText(output, wanted) {
  const ranges = [];
  for (let start = output.indexOf(wanted); start >= 0; start = output.indexOf(wanted, start + wanted.length)) {
    ranges.push([start, start + wanted.length]);
  }
  return ranges;
}

/** The ranges in which the search is found. */
function hits(text, search) {
  const ranges = [];
  for (const { 0: hit, index } of search ? text.matchAll(search) : []) {
    if (hit) ranges.push([index, index + hit.length]);
    if (ranges.length === MOST_HITS) break;
  }
  return ranges;
}

/** The text in spans, each with the classes (keys of `marks`) of the ranges that it lies in. */
function marked(text, marks) {
  const edges = new Set([0, text.length, ...Object.values(marks).flat(2)]);
  const places = [...edges].sort((one, other) => one - other);
  const next = Object.fromEntries(Object.keys(marks).map((name) => [name, 0]));
  return places.slice(1).map((end, number) => {
    const start = places[number];
    const classes = Object.entries(marks).filter(([name, ranges]) => {
      while (next[name] < ranges.length && ranges[next[name]][1] <= start) next[name]++;
      return next[name] < ranges.length && ranges[next[name]][0] <= start;
    });
    const content = text.slice(start, end);
    return classes.length ? element("mark", { class: classes.map(([name]) => name).join(" ") }, content) : content;
  });
}
