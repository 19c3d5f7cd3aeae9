// One sample: the question and the answers of the chosen cells side by side.

/** Show an item in the article `sample`. */
function showSample(study, cells, item, rule, search, link) {
  const question = study.questions[item.question];
  const several = cells.some((cell) => cell.answer.some((number) => number > 0));
  part("sample").replaceChildren(
    element("h3", {}, `Sample ${question.name}${several ? `, answer ${item.answer + 1}` : ""} `, link),
    labelled("Question", text(question.text, { hit: hits(question.text, search) })),
    labelled("Gold answer", text(question.gold, { hit: hits(question.gold, search) })),
    legend(),
    element("div", { class: "answers", tabindex: "0", role: "region", "aria-label": "Answers" },
      ...answers(study, cells, item, rule, search)),
    unlikeness(cells),
  );
}

function answers(study, cells, item, rule, search) {
  const outputs = cells.map((cell, place) => item.rows[place] >= 0 ? cell.output[item.rows[place]] : null);
  const unlike = unlikeWords(outputs);
  return cells.map((cell, place) => {
    const row = item.rows[place];
    const head = element("h4", {}, letter(place), " ", foreign(cell.label, { title: cell.name }));
    if (row < 0) return element("section", {}, head, element("p", {}, cell.problem ?? "This cell has no such answer."));
    const marks = {
      unlike: unlike[place] ?? [],
      extracted: findExtracted(cell.output[row], cell.extracted[row]),
      hit: hits(cell.output[row], search),
    };
    return element("section", {},
      head,
      facts(study, cell, row, rule),
      ...thought(cell.thought[row], search),
      output(`Answer ${LETTERS[place]}`, cell.output[row], marks),
      unlike[place] ? "" : element("p", { class: "note" }, "Too long or too unlike for a diff of words."));
  });
}

/** In each output (null: none) the words that the first one lacks; in the first one those that the second lacks. */
function unlikeWords([first, ...others]) {
  const compared = others.map((other) => first === null || other === null ? [[], []] : differences(first, other));
  return [compared.length ? compared[0]?.[0] : [], ...compared.map((ranges) => ranges?.[1])];
}

function facts(study, cell, row, rule) {
  const right = isRight(cell, row, rule);
  const verdicts = study.rules.map((name, bit) =>
    element("span", { class: "rule" }, verdict(isRight(cell, row, bit)), ` ${name}`));
  const flags = cell.flags[row];
  const extracted = cell.extracted[row];
  return element("dl", {},
    ...fact("verdict", verdict(right), ` ${wording(right)}`),
    ...fact("extracted", extracted === null ? "nothing" : foreign(extracted)),
    ...fact("by rule", ...verdicts),
    ...fact("kind", study.kinds[cell.kind[row]]),
    ...fact("ended by", study.stop_reasons[cell.stop[row]], `, ${cell.tokens[row]} tokens`,
      flags & RUN_ON ? ", text after the answer" : ""),
    ...(flags & FITS ? [] : fact("prompt", "did not fit, was never asked")));
}

function fact(name, ...content) {
  return [element("dt", {}, name), element("dd", {}, ...content)];
}

/** ✓ or ✗, or a dash where it is not known. */
function verdict(right) {
  const [sign, name] = right === null ? ["–", "unknown"] : right ? ["✓", "right"] : ["✗", "wrong"];
  return element("span", { class: name }, sign);
}

function wording(right) {
  return right === null ? "not graded by this rule" : right ? "right" : "wrong";
}

function letter(place) {
  return element("span", { class: `letter letter-${place}` }, LETTERS[place]);
}

function thought(content, search) {
  if (content === undefined) return [];
  const found = hits(content, search);
  const summary = element("summary", {}, "Thought, not graded");
  return [element("details", { open: found.length > 0 }, summary, output("Thought", content, { hit: found }))];
}

/** Foreign text in full, with its line breaks. */
function text(content, marks, attributes = {}) {
  return element("div", { class: "text", dir: "auto", ...attributes }, ...marked(content, marks));
}

/** What a model wrote; where that is long it scrolls, by keyboard too. */
function output(name, content, marks) {
  return text(content, marks, { class: "text output", tabindex: "0", role: "region", "aria-label": name });
}

function labelled(name, content) {
  return element("div", { class: "labelled" }, element("h4", {}, name), content);
}

function legend() {
  return element("p", { class: "note" },
    element("mark", { class: "unlike" }, "words"), " that the other answer lacks (of several: each against A) · ",
    element("mark", { class: "extracted" }, "the extracted answer"),
    ", searched for in the text: the grader may have read it elsewhere · ",
    element("mark", { class: "hit" }, "found"), " by the search");
}

/** The settings in which the cells differ. */
function unlikeness(cells) {
  const keys = [...new Set(cells.flatMap((cell) => Object.keys(cell.settings)))];
  const unlike = keys.filter((key) => new Set(cells.map((cell) => cell.settings[key])).size > 1);
  if (cells.length < 2) return "";
  const heads = cells.map((_, place) => element("th", {}, letter(place)));
  const rows = unlike.map((key) =>
    element("tr", {},
      element("td", {}, key),
      ...cells.map((cell) => element("td", {}, foreign(cell.settings[key] ?? "–")))));
  const summary = unlike.length === 1 ? "1 setting differs" : `${unlike.length} settings differ`;
  return element("details", { class: "unlikeness", open: partOpen("unlikeness") },
    element("summary", {}, `${summary} between these cells`),
    element("div", { class: "scrolled", tabindex: "0", role: "region", "aria-label": "Settings that differ" },
      element("table", {},
        element("thead", {}, element("tr", {}, element("th", {}, "setting"), ...heads)),
        element("tbody", {}, ...rows))));
}

/** Whether the details of that class were open in the sample that is shown so far. */
function partOpen(name) {
  return part("sample").querySelector(`.${name}`)?.open ?? false;
}
