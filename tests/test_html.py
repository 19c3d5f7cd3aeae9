"""report.html: what stands in the file, and what a reader sees and does in a real browser. And samples.parquet."""

import base64
import gzip
import hashlib
import itertools
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import parse_qs, urlencode

import pandas
import pytest
from browser import Browser, chromium
from test_report import HOSTILE, add_cell, add_training

from chattpl.errors import UserError
from chattpl.report import load, write_report
from chattpl.report.figures import FIGURES
from chattpl.report.html import SCRIPTS
from chattpl.report.html.markdown import to_html
from chattpl.results import read_results

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "chattpl/report/html"
MARKUP = (
    "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'></script><!-- <svg onload=alert(1)>"
)
RTL = "السعر هو 12 دولار\u202e abc"
LONG = "7 " * 50_000
LONG_FORMAT = "chat_with_a_long_system_prompt"
STRANGE = "\ud800 \x00 \u2028 \\boxed{3} ]]> &amp; \U0001f600"

needs_chromium = pytest.mark.skipif(chromium() is None, reason="needs Chromium (apt-get install chromium)")


def answer(folder: Path, index: int, **changes) -> None:
    """Change one entry of a cell's results.json."""
    path = folder / "results.json"
    entries = json.loads(path.read_text())
    entries[index] |= changes
    path.write_text(json.dumps(entries))


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two models in two formats; base has hostile answers to its first questions and 250 samples."""
    folder = tmp_path_factory.mktemp("html") / "arithmetic-tiny"
    add_cell(folder, "sft_chat_template", "chat", range(80), rules={"last": range(40)})
    add_cell(folder, "sft_chat_template", "raw", range(20, 90), rules={"last": range(20)})
    raw = add_cell(folder, "base", "raw", range(100, 200), n=250)
    chat = add_cell(folder, "base", "chat", range(150), n=250, inputs={"eval.format": "chat", "eval.max_tokens": 8})
    for index, text in enumerate((MARKUP, RTL, LONG, STRANGE)):
        answer(chat, index, output=text)
    answer(
        chat, 4, output="Add 2 and 3.\nThe answer is 5, so 5.\n#### 5\nQuestion: 9?", run_on=True, stop_reason="stop"
    )
    answer(raw, 4, output="Add 2 to 3.\nThe answer is \\boxed{5}", stop_reason="length", strict=False)
    answer(chat, 5, output="So 1,234.50 in all, 6", extracted="1234.5", thought="Let me think of 8.")
    answer(raw, 6, question=MARKUP, gold="<b>7</b>")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(study) -> str:
    return (study / "report/report.html").read_text()


class Reader(HTMLParser):
    """The elements of a page with their attributes, and the text that is neither script nor style."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def unpacked(page: str, name: str | int) -> dict:
    """What the page holds as `samples-NAME`."""
    [packed] = re.findall(rf'id="samples-{name}">([^<]*)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


# The file


def test_the_page_refers_to_nothing_outside_itself(page):
    for tag, attributes in Reader(page).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    assert "url(" not in (SOURCES / "page.css").read_text()
    assert not re.search("https?://", "".join((SOURCES / name).read_text() for name in (*SCRIPTS, "page.html")))


def test_the_policy_of_the_page_allows_its_one_script_and_no_request(page):
    [policy] = [each["content"] for tag, each in Reader(page).elements if each.get("http-equiv")]
    script = page.partition('<script type="module">')[2].partition("</script>")[0]
    sha = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert policy.endswith(f"script-src 'sha256-{sha}'")
    assert "unsafe" not in policy


def test_the_scripts_have_no_way_to_turn_text_into_markup():
    sources = "".join((SOURCES / name).read_text() for name in SCRIPTS)
    assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|Function\(", sources)


def test_every_script_of_the_folder_is_in_the_page(page):
    assert sorted(SCRIPTS) == sorted(path.name for path in SOURCES.glob("*.js"))


def test_model_output_is_no_markup_in_the_file(page):
    elements = Reader(page).elements
    assert sum(tag == "script" for tag, _ in elements) == 4 + 2  # a part for each cell, one for all, and the script
    assert MARKUP not in page
    assert all(attributes.get("src", "data:").startswith("data:") for tag, attributes in elements if tag == "img")


def test_hostile_names_are_text_in_the_page(tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, group=HOSTILE, task=HOSTILE, inputs={HOSTILE: HOSTILE})
    write_report(tmp_path / "s")
    reader = Reader((tmp_path / "s/report/report.html").read_text())
    assert HOSTILE in reader.text
    assert not [tag for tag, attributes in reader.elements if "onerror" in attributes]
    assert not [tag for tag, attributes in reader.elements if "evil" in str(attributes.get("href"))]


def test_the_page_says_what_the_text_says(study, page):
    text = (study / "report/report.md").read_text()
    titles = re.findall("^## (.*)$", text, re.MULTILINE)
    assert titles
    reader = Reader(page)
    assert all(title in reader.text for title in titles)
    assert reader.text.count("sft_chat_template_eval_chat") == text.count("sft_chat_template_eval_chat")


def test_the_pictures_are_inside_the_page(study, page):
    pictures = [each["src"] for tag, each in Reader(page).elements if tag == "img"]
    drawn = [(study / f"report/{name}.svg").read_bytes() for name in FIGURES]
    assert sorted(base64.b64decode(each.removeprefix("data:image/svg+xml;base64,")) for each in pictures) == sorted(
        drawn
    )


def test_markdown_of_an_unknown_picture_is_its_caption():
    _, [section] = to_html("## A\n\n![some & all](https://elsewhere/x.png)", {})
    assert "<em>some &amp; all</em>" in section.html
    assert "elsewhere" not in section.html


def test_html_in_markdown_is_text():
    head, _ = to_html(f"{MARKUP}\n\n<b>x</b>", {})
    assert {tag for tag, _ in Reader(head).elements} == {"p"}


def test_the_file_is_the_same_for_the_same_cells(study, page):
    write_report(study)
    assert (study / "report/report.html").read_text() == page


# The samples in the file


def test_every_answer_of_every_cell_is_in_the_page_as_the_model_wrote_it(study, page):
    head = unpacked(page, "all")
    for number, cell in enumerate(head["cells"]):
        results = read_results(study / "eval" / cell["name"] / "results.json")
        part = unpacked(page, number)
        questions = [head["questions"][place] for place in part["question"]]
        assert [each["text"] for each in questions] == [result.question for result in results]
        assert [each["gold"] for each in questions] == [result.gold for result in results]
        assert part["output"] == [result.output for result in results]
        assert part["extracted"] == [result.extracted for result in results]
        assert [head["stop_reasons"][stop] for stop in part["stop"]] == [result.stop_reason for result in results]
        for bit, rule in enumerate(head["rules"]):
            assert [each >> bit & 1 for each in part["right"]] == [result.rules.get(rule, 0) for result in results]


def test_a_question_stands_once_in_the_page(study, page):
    questions = [(each["text"], each["gold"]) for each in unpacked(page, "all")["questions"]]
    assert len(questions) == len(set(questions)) == 251  # one index has two questions
    assert len({each["name"] for each in unpacked(page, "all")["questions"]}) == 251


def test_samples_parquet_has_a_row_for_each_answer(study):
    frame = pandas.read_parquet(study / "report/samples.parquet")
    assert frame.groupby("cell").size().to_dict() == {
        **{"sft_chat_template_eval_chat": 100, "sft_chat_template_eval_raw": 100},
        **{"base_eval_chat": 250, "base_eval_raw": 250},
    }
    row = frame.query("cell == 'base_eval_chat' and index == 5").iloc[0]
    assert (row.question, row.gold, row.answer, row.extracted) == ("5 + 1?", "6", 0, "1234.5")
    assert (row.thought, row.correct, row.stop_reason) == ("Let me think of 8.", True, "eos")


def test_a_rule_that_a_cell_was_not_graded_by_is_neither_right_nor_wrong_in_samples_parquet(study):
    frame = pandas.read_parquet(study / "report/samples.parquet")
    assert frame.query("cell == 'base_eval_chat'").correct_last.isna().all()
    assert frame.query("cell == 'sft_chat_template_eval_chat'").correct_last.sum() == 40


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    """Two cells that drew three and two answers to each of two questions."""
    study = tmp_path_factory.mktemp("sampled") / "s"
    for eval_format, samples in (("chat", 3), ("raw", 2)):
        folder = add_cell(study, "base", eval_format, range(2), n=2)
        for index, entry in enumerate(json.loads((folder / "results.json").read_text())):
            one = {key: entry[key] for key in entry if key not in ("index", "question", "gold")}
            answers = [one | {"output": f"{eval_format} {number}", "correct": number == 1} for number in range(samples)]
            answer(folder, index, answers=answers)
    write_report(study)
    return study


def test_all_answers_to_a_question_are_in_the_page_and_in_samples_parquet(sampled):
    part = unpacked((sampled / "report/report.html").read_text(), 0)
    assert (part["question"], part["answer"]) == ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
    frame = load(sampled).samples
    assert frame.query("cell == 'base_eval_raw'").output.tolist() == ["raw 0", "raw 1"] * 2
    assert frame.query("cell == 'base_eval_chat'").correct.tolist() == [False, True, False] * 2


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    """Two cells, of which one can be read."""
    study = tmp_path_factory.mktemp("damaged") / "s"
    add_cell(study, "base", "chat", range(5), n=10)
    (add_cell(study, "base", "raw", range(5), n=10) / "results.json").write_text('[{"index"')
    write_report(study)
    return study


def test_a_damaged_cell_is_named_and_the_others_stay(damaged):
    cells = unpacked((damaged / "report/report.html").read_text(), "all")["cells"]
    assert [cell["problem"] for cell in cells] == [None, "results.json of base_eval_raw cannot be read"]
    assert set(load(damaged).samples.cell) == {"base_eval_chat"}


@pytest.mark.parametrize("content", [None, "[]"])
def test_a_report_can_be_written_where_no_answer_can_be_read(tmp_path, content):
    results = add_cell(tmp_path / "s", "base", "chat", range(5), n=10) / "results.json"
    results.unlink() if content is None else results.write_text(content)
    write_report(tmp_path / "s")
    assert load(tmp_path / "s").samples.empty


def test_settings_of_training_and_evaluation_are_in_the_page(tmp_path):
    add_cell(tmp_path / "s", "sft_chat_template", "chat", range(5), n=10, inputs={"eval.max_tokens": 8})
    add_training(tmp_path / "s", "sft_chat_template", inputs={"sft.learning_rate": 1e-5, "base": "0" * 64})
    write_report(tmp_path / "s")
    page = (tmp_path / "s/report/report.html").read_text()
    [cell] = unpacked(page, "all")["cells"]
    expected = {
        "evaluation: eval.max_tokens": "8",
        "evaluation: version of torch": '"2.13.0"',
        "training: sft.learning_rate": "1e-05",
        "training: base": '"000000000000"',
    }
    assert expected.items() <= cell["settings"].items()
    assert "training: sft.learning_rate 1e-05" in Reader(page).text


# In a notebook


def test_load_gives_the_cells_the_contrasts_and_the_samples(study):
    loaded = load(str(study))
    assert loaded.cells.cell.tolist()[0] == "sft_chat_template_eval_chat"
    assert {"first", "second", "rule", "p"} <= set(loaded.contrasts.columns)
    right = loaded.samples.groupby("cell").correct.mean()
    assert right.to_dict() == pytest.approx(dict(zip(loaded.cells.cell, loaded.cells.accuracy, strict=True)))


def test_load_keeps_a_name_that_pandas_takes_for_nothing(tmp_path):
    add_cell(tmp_path / "s", "base", "NA", range(5), n=10)
    write_report(tmp_path / "s")
    assert load(tmp_path / "s").cells.eval_format.tolist() == ["NA"]


def test_load_says_what_to_do_where_there_is_no_report(tmp_path):
    with pytest.raises(UserError, match=r"comparison\.csv is missing; write the report of the study with stage=report"):
        load(tmp_path)


def test_every_cell_of_the_notebook_runs(study, tmp_path, monkeypatch, capsys):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs/arithmetic-tiny").symlink_to(study)
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    said = "20 questions: sft_chat_template_eval_chat right, sft_chat_template_eval_raw wrong"
    assert said in capsys.readouterr().out


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def window(browser) -> Iterator[Browser]:
    """The browser, whose window has its usual size again afterwards."""
    yield browser
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.emulate()


def opened(browser: Browser, study: Path, fragment: str = "") -> Browser:
    browser.open(study / "report/report.html", fragment, "document.querySelector('#samples').dataset.state === 'ready'")
    return browser


def link(*cells: str, **more: object) -> str:
    return f"#{urlencode([*more.items(), *(('cell', cell) for cell in cells)])}"


BASE = ("base_eval_chat", "base_eval_raw")


@pytest.fixture
def base(browser, study) -> Browser:
    """The page with the two cells of the base model chosen."""
    return opened(browser, study, link(*BASE, sample=4))


def texts(browser: Browser, selector: str) -> list[str]:
    return browser.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.textContent)")


def click(browser: Browser, selector: str, text: str = "") -> None:
    find = f"[...document.querySelectorAll({json.dumps(selector)})]"
    browser.evaluate(f"{find}.find((each) => each.textContent.includes({json.dumps(text)})).click()")


def fill(browser: Browser, field: str, value: str | bool) -> None:
    """Change a field of the form as a reader does."""
    key = "checked" if isinstance(value, bool) else "value"
    browser.evaluate(
        f"{{ const field = document.querySelector('#choice')[{json.dumps(field)}]; field.{key} = {json.dumps(value)};"
        " for (const kind of ['input', 'change']) field.dispatchEvent(new Event(kind, { bubbles: true })); }"
    )


def heaps(browser: Browser) -> dict[str, int]:
    return {text.rpartition(" ")[0]: int(text.rpartition(" ")[2]) for text in texts(browser, "#heaps button")}


def listed(browser: Browser) -> list[str]:
    return texts(browser, "#list .name")


def shown(browser: Browser) -> str:
    return texts(browser, "#sample h3")[0].removesuffix(" link to this sample")


@needs_chromium
def test_the_page_opens_from_disk_without_a_request_and_without_a_complaint(browser, study):
    opened(browser, study)
    assert [url for url in browser.requests if not url.startswith("data:")] == [(study / "report/report.html").as_uri()]
    assert browser.complaints == []
    assert browser.evaluate("scrollY") == 0
    pictures = "[...document.querySelectorAll('img')].map((each) => each.complete && each.naturalWidth > 100)"
    assert set(browser.evaluate(pictures)) == {True}


@needs_chromium
def test_a_click_on_a_heading_sorts_the_table_and_two_more_give_the_old_order_back(browser, study):
    opened(browser, study)
    column = "#section-accuracy table:first-of-type tbody td:nth-child(5)"
    before = texts(browser, column)
    orders = []
    for _ in range(3):
        click(browser, "#section-accuracy th button", "accuracy")
        orders.append(texts(browser, column))
    assert orders == [sorted(before, key=float), sorted(before, key=float, reverse=True), before]


@needs_chromium
def test_a_table_is_sorted_by_keyboard_and_says_so_to_a_screen_reader(browser, study):
    opened(browser, study)
    browser.evaluate("document.querySelector('main th button').focus()")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('main th').getAttribute('aria-sort')") == "ascending"
    cells = texts(browser, "#section-accuracy tbody td:first-child")
    assert cells == sorted(cells)


@needs_chromium
def test_each_heap_counts_and_lists_its_samples(browser, study):
    opened(browser, study, link("sft_chat_template_eval_chat", "sft_chat_template_eval_raw", sample=0))
    counts = {"all": 100, "both right": 60, "only A right": 20, "only B right": 10, "both wrong": 10}
    assert heaps(browser) == counts
    click(browser, "#heaps button", "only B right")
    assert listed(browser) == [str(index) for index in range(80, 90)]
    assert shown(browser) == "Sample 80"


@needs_chromium
def test_the_heaps_go_by_the_chosen_rule(browser, study):
    opened(browser, study, link("sft_chat_template_eval_chat", "sft_chat_template_eval_raw", sample=0))
    fill(browser, "rule", "2")
    assert heaps(browser) == {"all": 100, "both right": 20, "only A right": 20, "only B right": 0, "both wrong": 60}


@needs_chromium
def test_what_cannot_be_paired_has_a_heap_of_its_own(base):
    assert heaps(base)["not in all of them"] == 2  # another question at one index


@needs_chromium
def test_three_cells_have_a_heap_for_each_pattern(browser, study):
    opened(browser, study, link("sft_chat_template_eval_chat", "sft_chat_template_eval_raw", BASE[0], sample=0))
    found = {name: count for name, count in heaps(browser).items() if count}
    assert found == {
        **{"all": 250, "all right": 60, "only A, C right": 20, "only B, C right": 10, "only C right": 10},
        "not in all of them": 150,
    }
    assert len(texts(browser, ".answers section")) == 3


@needs_chromium
def test_the_cells_are_chosen_in_the_form(browser, study):
    opened(browser, study)
    for place, number in ((0, "3"), (1, "")):
        browser.evaluate(
            f"{{ const select = document.querySelector('[data-place=\"{place}\"]'); select.value = '{number}';"
            " select.dispatchEvent(new Event('change', { bubbles: true })); }"
        )
        browser.wait(f"document.querySelector('[data-place=\"{place}\"]').value === '{number}'")
    browser.wait("document.querySelectorAll('.answers section').length === 1")
    assert heaps(browser) == {"all": 250, "right": 100, "wrong": 150}


@needs_chromium
def test_at_most_a_hundred_samples_stand_in_the_list(base):
    assert len(listed(base)) == 100
    assert texts(base, "#range") == ["1 to 100 of 251"]
    click(base, "[name=on]")
    click(base, "[name=on]")
    assert texts(base, "#range") == ["201 to 251 of 251"]
    assert listed(base)[-1] == "249"


@needs_chromium
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"stop": "1"}, ["4"]),
        ({"stop": "2", "of": "1"}, ["4"]),
        ({"stop": "2", "of": "0"}, []),
        ({"run_on": "1"}, ["4"]),
        ({"run_on": "1", "stop": "2"}, []),  # of one and the same answer
        ({"kind": "0", "of": "1", "search": "101 + 1"}, ["101"]),  # right
        ({"kind": "2", "of": "1", "search": "101 + 1"}, []),  # wrong
        ({"kind": "4"}, ["4"]),  # cut off
        ({"search": "add 2 TO 3."}, ["4"]),
        ({"search": "think of 8"}, ["5"]),
        ({"search": "4 + 1?", "where": "answers"}, []),
        ({"search": "The answer", "where": "question"}, []),
        ({"regex": True, "search": r"^Add \d (to|and) \d"}, ["4"]),
        ({"regex": True, "search": r"^24\d \+ 1"}, [str(index) for index in range(240, 250)]),
        ({"search": r"^24\d"}, []),
    ],
)
def test_filters_and_search_choose_samples(base, filters, names):
    for field, value in filters.items():
        fill(base, field, value)
    assert listed(base) == names
    assert base.complaints == []


@needs_chromium
def test_cleared_filters_list_everything_again(base):
    fill(base, "search", "no such text")
    assert texts(base, "#sample") == ["No sample passes the filters."]
    click(base, "#choice button", "Clear filters")
    assert heaps(base)["all"] == 251


@needs_chromium
def test_a_regular_expression_that_makes_no_sense_is_said_and_changes_nothing(base):
    fill(base, "regex", True)
    fill(base, "search", "(")
    assert texts(base, "#trouble")[0].startswith("The regular expression cannot be read: ")
    assert len(listed(base)) == 100
    assert base.complaints == []


@needs_chromium
def test_a_link_opens_its_sample(browser, study):
    opened(browser, study, link(*BASE[::-1], sample=217, rule="strict"))
    assert shown(browser) == "Sample 217"
    assert texts(browser, "#sample .text")[0] == "217 + 1?"
    assert browser.evaluate("[...document.querySelectorAll('.answers h4 bdi')].map((e) => e.title)") == list(BASE[::-1])
    assert browser.evaluate("document.querySelector('#choice').rule.selectedOptions[0].textContent") == "strict"


@needs_chromium
def test_the_link_of_a_sample_leads_back_to_it(base):
    fill(base, "search", "^17 ")
    fill(base, "regex", True)
    fragment = base.evaluate("document.querySelector('#sample h3 a').hash")
    click(base, "#choice button", "Clear filters")
    base.evaluate(f"location.hash = {json.dumps(link('sft_chat_template_eval_raw', sample=3))}")
    base.wait("document.querySelector('#sample h3').textContent.startsWith('Sample 3 ')")
    base.evaluate(f"location.hash = {json.dumps(fragment)}")
    base.wait("document.querySelector('#sample h3').textContent.startsWith('Sample 17 ')")
    assert len(texts(base, ".answers section")) == 2


@needs_chromium
def test_a_link_to_a_sample_that_the_filters_hide_clears_them(base):
    fill(base, "search", "no such text")
    base.evaluate(f"location.hash = {json.dumps(link(*BASE, sample=17))}")
    base.wait("document.querySelector('#sample h3')?.textContent.startsWith('Sample 17 ')")
    assert texts(base, "#list [aria-current] .name") == ["17"]
    assert base.evaluate("document.querySelector('#choice').search.value") == ""


@needs_chromium
def test_a_link_to_a_sample_that_is_not_there_says_so(browser, study):
    opened(browser, study, link(*BASE, sample=9999))
    assert texts(browser, "#trouble") == ["These cells have no sample 9999."]


@needs_chromium
def test_j_and_k_go_to_the_next_and_the_previous_sample_across_pages(browser, study):
    opened(browser, study, link(*BASE, sample=98))
    for key, name in (("j", "99"), ("j", "100"), ("k", "99")):
        browser.press(key)
        assert shown(browser) == f"Sample {name}"
    browser.wait("location.hash.startsWith('#sample=99&')")


@needs_chromium
def test_a_slash_goes_to_the_search_where_letters_are_text(base):
    base.press("/")
    base.press("j")
    assert base.evaluate("document.querySelector('#choice').search.value") == "j"
    assert base.evaluate("document.activeElement.name") == "search"


@needs_chromium
@pytest.mark.parametrize("index", range(4))
def test_hostile_output_is_shown_as_the_text_that_it_is(browser, study, index):
    text = (MARKUP, RTL, LONG, STRANGE)[index]
    opened(browser, study, link(*BASE, sample=index))
    codes = browser.evaluate("[...document.querySelector('.answers .output').textContent].map((e) => e.codePointAt(0))")
    assert "".join(map(chr, codes)) == text
    assert browser.evaluate("window.attacked") is None
    assert browser.evaluate("document.querySelectorAll('#sample script, #sample img, #sample svg').length") == 0
    assert browser.complaints == []


@needs_chromium
def test_hostile_questions_are_text_in_the_list_and_above_the_answers(base):
    fill(base, "search", "<script>")
    assert listed(base) == ["0", "6.2"]
    click(base, "#list a", "6.2")
    base.wait("document.querySelector('#sample h3').textContent.startsWith('Sample 6.2 ')")
    assert texts(base, "#sample .text")[:2] == [MARKUP, "<b>7</b>"]
    assert base.evaluate("window.attacked") is None


@needs_chromium
def test_text_from_right_to_left_turns_nothing_around_it(browser, study):
    opened(browser, study, link(*BASE, sample=1))
    direction = "(e) => getComputedStyle(e).direction"
    assert browser.evaluate(f"({direction})(document.querySelector('.answers .output'))") == "rtl"
    assert browser.evaluate(f"({direction})(document.querySelector('.answers section'))") == "ltr"


@needs_chromium
def test_a_line_of_100_kb_is_shown_and_searched_at_once(browser, study):
    opened(browser, study, link(*BASE, sample=3))
    spent = browser.evaluate(
        "(async () => { const began = performance.now(); document.querySelectorAll('#list a')[2].click();"
        " await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));"
        " return performance.now() - began; })()"
    )
    assert shown(browser) == "Sample 2"
    assert spent < 2000
    assert "Too long or too unlike for a diff of words." in texts(browser, ".answers .note")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_chromium
def test_the_words_that_only_one_answer_has_are_marked(base):
    first, second = (texts(base, f".answers section:nth-child({place}) mark.unlike") for place in (1, 2))
    assert first[0] == "and"
    assert second == ["to", "\\boxed{", "}"]


@needs_chromium
def test_the_extracted_answer_is_marked_where_it_was_stated(browser, study):
    places = {}
    for name in BASE:
        opened(browser, study, link(name, sample=4))
        before = "document.querySelector('.output mark.extracted').previousSibling.textContent"
        places[name] = (texts(browser, ".output mark.extracted"), browser.evaluate(before)[-7:])
    assert places == {BASE[0]: (["5"], "wer is "), BASE[1]: (["5"], "\\boxed{")}


@needs_chromium
def test_an_extracted_number_is_found_however_it_is_written(browser, study):
    opened(browser, study, link(BASE[0], sample=5))
    assert texts(browser, ".output mark.extracted") == ["1,234.50"]


@needs_chromium
def test_a_thought_is_shown_apart_from_the_answer(browser, study):
    opened(browser, study, link(BASE[0], sample=5))
    assert texts(browser, "details .text") == ["Let me think of 8."]
    assert "think" not in texts(browser, ".answers > section > .output")[0]


@needs_chromium
def test_the_settings_in_which_two_cells_differ_are_listed(base):
    rows = base.evaluate("[...document.querySelectorAll('.unlikeness tbody tr')].map((e) => e.textContent)")
    assert rows == ['evaluation: eval.format"chat"–', "evaluation: eval.max_tokens8–"]


@needs_chromium
def test_a_setting_that_is_null_differs_visibly_from_one_that_is_not_there(browser, tmp_path):
    add_cell(tmp_path / "s", "base", "chat", range(5), n=10, inputs={"formats.chat.eos": None})
    add_cell(tmp_path / "s", "base", "raw", range(5), n=10)
    write_report(tmp_path / "s")
    opened(browser, tmp_path / "s")
    assert texts(browser, ".unlikeness tbody td") == ["evaluation: formats.chat.eos", "null", "–"]


@pytest.fixture(scope="module")
def overridden(tmp_path_factory) -> Path:
    """Two cells with one change that both have, in a format with a long name."""
    study = tmp_path_factory.mktemp("overridden") / "s"
    for model in ("base", "sft_chat_template"):
        add_cell(study, f"{model}--task.validation=500", LONG_FORMAT, range(5), n=10)
    write_report(study)
    return study


@needs_chromium
def test_cells_are_called_as_in_the_tables_and_linked_by_their_folders(browser, overridden):
    folders = [f"{model}--task.validation=500_eval_{LONG_FORMAT}" for model in ("base", "sft_chat_template")]
    labels = [f"base in {LONG_FORMAT}", f"sft_chat_template in {LONG_FORMAT}"]
    opened(browser, overridden, link(*folders, sample=3))
    assert texts(browser, ".answers h4 bdi") == texts(browser, "#cells option:checked") == labels
    titles = "[...document.querySelectorAll('#cells select, .answers bdi[title]')].map((each) => each.title)"
    assert browser.evaluate(titles) == folders * 2
    linked = parse_qs(browser.evaluate("document.querySelector('#sample h3 a').hash")[1:])
    assert linked["cell"] == folders


# How it is laid out


@needs_chromium
@pytest.mark.parametrize("width", [320, 360, 600, 1000])
def test_the_page_never_scrolls_sideways(window, overridden, width):
    window.resize(width)
    opened(window, overridden)
    assert window.evaluate("document.documentElement.scrollWidth") == width


@needs_chromium
@pytest.mark.parametrize("width", [1000, 1400])
def test_a_jump_leaves_the_heading_just_below_the_links_at_the_top(window, study, width):
    window.resize(width)
    opened(window, study)
    tops = window.evaluate(
        "[...document.querySelectorAll('nav a')].map((each) => { each.click();"
        " const heading = document.querySelector(`${each.getAttribute('href')} h2`);"
        " return heading.getBoundingClientRect().top - document.querySelector('nav').getBoundingClientRect().bottom; })"
    )
    assert all(0 < top < 60 for top in tops), tops


@needs_chromium
@pytest.mark.parametrize("width", [1000, 1400])
def test_the_list_of_samples_stays_below_the_links_at_the_top(window, study, width):
    window.resize(width)
    opened(window, study, link(*BASE, sample=2))
    window.evaluate("scrollBy(0, 400)")
    window.wait("document.querySelector('#browser').getBoundingClientRect().top < 0")
    edges = "['nav', '#list', '#pages'].map((each) => document.querySelector(each).getBoundingClientRect())"
    links, samples, pages = window.evaluate(f"{edges}.map(({{ top, bottom }}) => [top, bottom])")
    assert links[1] <= samples[0]
    assert pages[1] <= 900


def opened_with_picture(browser: Browser, study: Path, width: int = 3000, height: int = 2000) -> None:
    """Open the page, and put a picture of that size into the place of the first one."""
    opened(browser, study)
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'/>"
    browser.evaluate(f"document.querySelector('.picture').src = 'data:image/svg+xml,' + encodeURIComponent(\"{svg}\")")
    browser.wait(f"document.querySelector('.picture').naturalWidth === {width}")
    browser.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


WIDTH = "document.querySelector('.picture').width"


@needs_chromium
def test_a_wide_picture_is_as_wide_as_the_page(window, study):
    opened_with_picture(window, study)
    assert 1300 < window.evaluate(WIDTH) < 1400


@needs_chromium
def test_a_wide_picture_has_its_full_size_at_the_press_of_a_key_and_scrolls_by_itself(window, study):
    opened_with_picture(window, study)
    window.evaluate("document.querySelector('.size').focus()")
    window.press("Enter")
    assert window.evaluate(WIDTH) == 3000
    assert window.evaluate("document.querySelector('.box').tabIndex") == 0
    assert window.evaluate("document.documentElement.scrollWidth") == 1400
    assert texts(window, ".size")[0] == "fit to the page"
    window.press("Enter")
    assert 1300 < window.evaluate(WIDTH) < 1400


@needs_chromium
def test_a_click_on_a_wide_picture_enlarges_it_around_that_place(window, study):
    opened_with_picture(window, study)
    window.evaluate("document.querySelector('.picture').scrollIntoView()")
    x, y = window.evaluate(
        "(({ left, top, width, height }) => [left + width * 0.6, top + height * 0.4])"
        "(document.querySelector('.picture').getBoundingClientRect())"
    )
    for kind in ("mousePressed", "mouseReleased"):
        window.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    middle = window.evaluate(
        "(({ scrollLeft, clientWidth, scrollTop, clientHeight }) =>"
        " [scrollLeft + clientWidth / 2, scrollTop + clientHeight / 2])(document.querySelector('.box'))"
    )
    assert middle == pytest.approx([1800, 800], abs=15)


@needs_chromium
def test_a_picture_that_fits_has_no_button(window, study):
    opened_with_picture(window, study, width=500)
    assert window.evaluate(WIDTH) == 500
    assert window.evaluate("document.querySelector('.size').hidden")
    window.resize(360)
    window.wait("!document.querySelector('.size').hidden")


@needs_chromium
def test_a_wide_picture_fits_on_paper(window, study):
    opened_with_picture(window, study)
    click(window, ".size")
    window.emulate(media="print")
    assert window.evaluate(WIDTH) < 1400
    assert window.evaluate("getComputedStyle(document.querySelector('.size')).display") == "none"


@needs_chromium
def test_a_long_answer_scrolls_on_the_screen_and_is_whole_on_paper(window, study):
    opened(window, study, link(*BASE, sample=2))
    of_the_answer = "(({{ clientHeight, scrollHeight }}) => [clientHeight, scrollHeight])(document.querySelector('{}'))"
    seen, whole = window.evaluate(of_the_answer.format(".answers .output"))
    assert seen < 900 < whole
    window.emulate(media="print")
    seen, whole = window.evaluate(of_the_answer.format(".answers .output"))
    assert seen == whole > 900


@needs_chromium
def test_the_marks_are_explained_above_the_answers(base):
    assert "searched for in the text" in texts(base, "#sample > .labelled + .note")[0]
    assert base.evaluate("document.querySelector('#sample > .note').nextElementSibling.className") == "answers"


@needs_chromium
def test_text_after_an_answer_is_called_so_in_the_filter_and_beside_the_answer(base):
    assert (
        base.evaluate("document.querySelector('#choice').run_on.labels[0].firstChild.data") == "text after the answer "
    )
    assert [text.endswith("text after the answer") for text in texts(base, ".answers dd:last-of-type")] == [True, False]


@needs_chromium
def test_each_of_several_answers_is_a_sample_of_its_own(browser, sampled):
    opened(browser, sampled, link(*BASE, sample=1, answer=2))
    assert shown(browser) == "Sample 1, answer 2"
    assert texts(browser, ".answers .output") == ["chat 1", "raw 1"]
    assert heaps(browser)["not in all of them"] == 2


@needs_chromium
def test_a_cell_that_cannot_be_read_is_named_beside_the_answers_of_the_other(browser, damaged):
    opened(browser, damaged)
    assert texts(browser, "#trouble") == ["results.json of base_eval_raw cannot be read."]
    assert texts(browser, ".answers .output") == ["#### 1"]
    assert browser.complaints == []


@needs_chromium
def test_the_page_is_dark_where_the_reader_wants_it_dark_and_light_on_paper(base):
    look = "getComputedStyle(document.body).backgroundColor"
    try:
        base.emulate(prefers_color_scheme="light")
        light = base.evaluate(look)
        base.emulate(prefers_color_scheme="dark")
        assert (light, base.evaluate(look)) == ("rgb(255, 255, 255)", "rgb(21, 24, 28)")
        base.emulate(media="print", prefers_color_scheme="dark")
        assert base.evaluate(look) == light
        hidden = "getComputedStyle(document.querySelector(selector)).display"
        assert base.evaluate("getComputedStyle(document.querySelector('.picture')).filter") == "none"
        for selector in ("nav", "#choice", "#listed"):
            assert base.evaluate(hidden.replace("selector", json.dumps(selector))) == "none"
    finally:
        base.emulate()


@needs_chromium
def test_the_diff_is_a_longest_common_subsequence(browser):
    draw = random.Random(0)
    pairs = [[draw.choices("abc", k=draw.randrange(12)) for _ in range(2)] for _ in range(300)]
    found = browser.evaluate(
        f"{(SOURCES / 'words.js').read_text()}; {json.dumps(pairs)}.map((e) => unmatchedWords(...e))"
    )
    for (one, other), unmatched in zip(pairs, found, strict=True):
        kept = [
            [w for place, w in enumerate(words) if place not in set(away)]
            for words, away in zip((one, other), unmatched, strict=True)
        ]
        assert kept[0] == kept[1]
        assert len(kept[0]) == common_length(one, other)


def common_length(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, by dynamic programming."""
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, j in itertools.product(range(len(one)), range(len(other))):
        best = max(lengths[i][j + 1], lengths[i + 1][j])
        lengths[i + 1][j + 1] = lengths[i][j] + 1 if one[i] == other[j] else best
    return lengths[-1][-1]
