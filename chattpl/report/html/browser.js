// The browser of samples: the form, the list by pages, the keys, and the link to one sample.
//
// The link is the page's fragment: #sample=12&answer=1&cell=NAME&cell=NAME&rule=NAME.

const PAGE = 100; // samples in the list at a time
const MOST_CELLS = LETTERS.length;
const LINK_DELAY = 250; // milliseconds; browsers refuse to have their address changed too often

const form = part("choice");

class SampleBrowser {
  constructor(study) {
    this.study = study;
    this.cells = []; // the chosen ones, unpacked
    this.items = []; // of these cells
    this.listed = []; // the items that pass the filters and lie in the chosen heap
    this.heap = "all";
    this.shown = null; // the item that is shown
    this.page = 0;
    this.search = null;
  }

  get rule() {
    return Number(form.rule.value);
  }

  // --- what is chosen

  /** Choose cells by their numbers. The last of several calls wins, however long the cells take to unpack. */
  async choose(numbers) {
    const wanted = this.wanted = numbers;
    const cells = await Promise.all(numbers.map((number) => this.study.cell(number)));
    if (wanted !== this.wanted) return;
    this.cells = cells;
    this.fillCells(numbers);
    this.fillOf();
    this.pair();
  }

  /** Pair the answers anew, after the cells or the rule have changed; the question that is shown stays. */
  pair() {
    const { question, answer } = this.shown ?? {};
    this.items = pairUp(this.cells, this.rule);
    this.shown = this.items.find((item) => item.question === question && item.answer === answer) ?? null;
    this.fillHeaps();
    this.filter();
  }

  /** List what passes the filters, count the heaps, and show the first sample unless the shown one is still listed. */
  filter() {
    const filters = Object.fromEntries(new FormData(form));
    try {
      this.search = searchFor(filters.search, form.regex.checked);
      part("trouble").textContent = this.troubles();
    } catch (error) {
      part("trouble").textContent = `The regular expression cannot be read: ${error.message}`;
      return;
    }
    const passed = this.items.filter(filterBy(filters, this.study, this.cells, this.search));
    this.countHeaps(passed);
    this.listed = this.heap === "all" ? passed : passed.filter((item) => item.heap === this.heap);
    this.show(this.listed.includes(this.shown) ? this.shown : this.listed[0] ?? null);
  }

  troubles() {
    return this.cells.map((cell) => cell.problem).filter(Boolean).map((problem) => `${problem}.`).join(" ");
  }

  clearFilters() {
    for (const name of ["search", "stop", "kind", "run_on", "of"]) form[name].value = "";
    this.heap = "all";
    this.fillHeaps();
    this.filter();
  }

  // --- the form

  fillCells(numbers) {
    const focused = document.activeElement?.dataset?.place;
    const names = this.study.cells.map((cell) => cell.label + (cell.problem ? " (cannot be read)" : ""));
    const places = Math.min(numbers.length + 1, MOST_CELLS, names.length);
    const selects = Array.from({ length: places }, (_, place) => element("label", { class: "cell" }, letter(place), " ",
      element("select", { "data-place": place, "aria-label": `Cell ${LETTERS[place]}`, title: this.cells[place]?.name },
        ...(place > 0 ? [option("", "– none –")] : []),
        ...names.map((name, number) => option(number, name, number === numbers[place])))));
    part("cells").replaceChildren(part("cells").firstElementChild, ...selects);
    if (focused !== undefined) part("cells").querySelector(`[data-place="${focused}"]`)?.focus();
  }

  fillOf() {
    const names = this.cells.map((_, place) => option(place, `cell ${LETTERS[place]}`));
    form.of.replaceChildren(option("", this.cells.length === 1 ? "this cell" : "any of the cells"), ...names);
  }

  fillHeaps() {
    const heaps = heapsOf(this.cells.length).filter((heap) =>
      this.items.some((item) => item.heap === heap) || (heap !== null && this.cells.length <= 2));
    if (!heaps.includes(this.heap)) this.heap = "all";
    const buttons = ["all", ...heaps].map((heap) => {
      const name = heap === "all" ? "all" : heapName(heap, this.cells.length);
      const button = element("button", { type: "button" }, `${name} `, element("span", { class: "count" }));
      button.heap = heap;
      button.addEventListener("click", () => {
        this.heap = heap;
        this.filter();
      });
      return button;
    });
    part("heaps").replaceChildren(part("heaps").firstElementChild, ...buttons);
  }

  countHeaps(passed) {
    const counts = new Map();
    for (const { heap } of passed) counts.set(heap, (counts.get(heap) ?? 0) + 1);
    for (const button of part("heaps").querySelectorAll("button")) {
      const count = button.heap === "all" ? passed.length : counts.get(button.heap) ?? 0;
      button.querySelector(".count").textContent = String(count);
      button.setAttribute("aria-pressed", String(button.heap === this.heap));
    }
  }

  // --- the list and the sample

  /** Show an item, and the page of the list that it is on. */
  show(item) {
    this.shown = item;
    this.turnTo(Math.max(0, Math.floor(this.listed.indexOf(item) / PAGE)));
    if (item === null) {
      part("sample").replaceChildren(element("p", {}, "No sample passes the filters."));
      return;
    }
    const link = element("a", { href: this.linkTo(item), class: "screen" }, "link to this sample");
    showSample(this.study, this.cells, item, this.rule, this.search, link);
  }

  /** Show a page of the list. */
  turnTo(page) {
    const pages = Math.max(1, Math.ceil(this.listed.length / PAGE));
    this.page = Math.min(Math.max(page, 0), pages - 1);
    const first = this.page * PAGE;
    const rows = this.listed.slice(first, first + PAGE).map((item) => this.row(item));
    part("list").replaceChildren(...rows);
    const range = `${first + 1} to ${first + rows.length} of ${this.listed.length}`;
    part("range").textContent = rows.length ? range : "none";
    part("pages").querySelector("[name=back]").disabled = this.page === 0;
    part("pages").querySelector("[name=on]").disabled = this.page === pages - 1;
    this.scrollList();
  }

  /** Bring the row of the shown sample into sight, inside the list alone. */
  scrollList() {
    const list = part("list"), row = list.querySelector("[aria-current]");
    if (!row) return;
    const above = row.getBoundingClientRect().top - list.getBoundingClientRect().top;
    const below = above + row.offsetHeight - list.clientHeight;
    if (above < 0) list.scrollTop += above;
    else if (below > 0) list.scrollTop += below;
  }

  row(item) {
    const question = this.study.questions[item.question];
    const signs = item.rows.map((row, place) => verdict(isRight(this.cells[place], row, this.rule)));
    const name = item.answer > 0 ? `${question.name}/${item.answer + 1}` : question.name;
    return element("li", {}, element("a", { href: this.linkTo(item), "aria-current": item === this.shown && "true" },
      element("span", { class: "name" }, name), " ", element("span", { class: "signs" }, ...signs), " ",
      foreign(question.text.slice(0, 120))));
  }

  /** Show the sample that many places on in the list. */
  step(by) {
    const item = this.listed[this.listed.indexOf(this.shown) + by];
    if (!item) return;
    this.show(item);
    if (part("browser").getBoundingClientRect().top < covered()) part("browser").scrollIntoView();
    clearTimeout(this.linking);
    this.linking = setTimeout(() => history.replaceState(null, "", this.linkTo(this.shown)), LINK_DELAY);
  }

  // --- links

  linkTo(item) {
    const cells = this.cells.map((cell) => ["cell", cell.name]);
    const answer = item.answer > 0 ? [["answer", item.answer + 1]] : [];
    const sample = ["sample", this.study.questions[item.question].name];
    return `#${new URLSearchParams([sample, ...answer, ...cells, ["rule", this.study.rules[this.rule]]])}`;
  }

  /** Show what the page's fragment names, if it names a sample. Filters that hide it are cleared. */
  async follow() {
    const link = new URLSearchParams(location.hash.slice(1));
    if (!link.has("sample")) return false;
    const numbers = link.getAll("cell").map((name) => this.study.numberOf(name)).filter((number) => number >= 0);
    const rule = this.study.rules.indexOf(link.get("rule"));
    const answer = Number(link.get("answer") ?? 1) - 1;
    const isNew = numbers.join() !== this.wanted?.join() || (rule >= 0 && rule !== this.rule);
    if (rule >= 0) form.rule.value = String(rule);
    if (isNew) await this.choose(numbers.length ? numbers.slice(0, MOST_CELLS) : this.study.firstPair());
    const item = this.items.find((each) =>
      each.answer === answer && this.study.questions[each.question].name === link.get("sample"));
    if (!item) {
      part("trouble").textContent = `These cells have no sample ${link.get("sample")}.`;
      return true;
    }
    if (!this.listed.includes(item)) this.clearFilters();
    this.show(item);
    return true;
  }
}

/** What each key does, wherever nothing is typed into. */
function keys(browser) {
  return {
    j: () => browser.step(1),
    k: () => browser.step(-1),
    "/": () => form.search.focus(),
  };
}

function listen(browser) {
  const pages = part("pages");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", ({ target }) => {
    if (target.dataset.place === undefined && target !== form.rule) browser.filter();
  });
  form.rule.addEventListener("change", () => browser.pair());
  form.clear.addEventListener("click", () => browser.clearFilters());
  part("cells").addEventListener("change", () => {
    const chosen = [...part("cells").querySelectorAll("select")].map((select) => select.value);
    browser.choose(chosen.filter((value) => value !== "").map(Number));
  });
  pages.querySelector("[name=back]").addEventListener("click", () => browser.turnTo(browser.page - 1));
  pages.querySelector("[name=on]").addEventListener("click", () => browser.turnTo(browser.page + 1));
  addEventListener("hashchange", () => browser.follow());
  addEventListener("keydown", (event) => {
    const types = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    const act = types || event.ctrlKey || event.metaKey || event.altKey ? undefined : keys(browser)[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}

async function open() {
  const study = await Study.read();
  form.rule.replaceChildren(...study.rules.map((name, bit) => option(bit, name)));
  form.kind.append(...study.kinds.map((name, number) => option(number, name)));
  form.stop.append(...study.stop_reasons.map((name, number) => option(number, name)));
  const browser = new SampleBrowser(study);
  for (const id of ["choice", "browser", "keys"]) part(id).hidden = false;
  const linked = await browser.follow();
  if (browser.cells.length === 0) await browser.choose(study.firstPair());
  listen(browser);
  if (linked) part("samples").scrollIntoView();
  part("samples").dataset.state = "ready";
  performance.mark("samples ready");
}

open().catch((error) => {
  const what = `The samples cannot be shown: ${error.message}`;
  part("samples").append(element("p", { role: "alert" }, what));
  console.error(what);
});
