import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chattpl.errors import UserError
from chattpl.tasks.forms import FORMS
from chattpl.tasks.gsm8k import GSM8K
from chattpl.tasks.jsonl import read_jsonl

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data" / "gsm8k"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="GSM8K is not at ../shared/data/gsm8k")

ROW = {"question": "Ann has 3 bags of 400 nuts. How many nuts?", "answer": "3*400 = <<3*400=1200>>1200\n#### 1,200"}


@pytest.fixture
def folder(tmp_path):
    """A folder with one sample in each file."""
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(ROW) + "\n")
    return tmp_path


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_working_is_the_answer_without_its_last_line(folder):
    task = GSM8K(str(folder))
    assert task.working(task.load_train()[0]) == "3*400 = 1200"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_local_folder_gives_samples_without_calculator_marks(folder, split):
    (sample,) = getattr(GSM8K(str(folder)), f"load_{split}")()
    assert (sample.question, sample.answer, sample.gold) == (ROW["question"], "3*400 = 1200\n#### 1,200", "1200")


def test_calculator_marks_are_kept_on_demand(folder):
    assert GSM8K(str(folder), calculator_marks=True).load_train()[0].answer == ROW["answer"]


def test_the_task_is_named_gsm8k():
    assert GSM8K().name() == "gsm8k"


def test_a_folder_in_the_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert GSM8K(f"~/{folder.name}").load_test()


def test_a_local_folder_is_read_without_the_datasets_library(folder):
    code = f"import sys; from chattpl.tasks.gsm8k import GSM8K; GSM8K({str(folder)!r}).load_test()"
    assert run_python(f"{code}; print('datasets' in sys.modules)") == "False"


@pytest.mark.parametrize(
    "source", ["/not/there", "./not_there", "~/not_there", "~nobody_at_all/x", "a/b/c", "", "x" * 9999]
)
def test_a_path_that_is_no_folder_is_an_error_that_names_the_key(source):
    with pytest.raises(UserError, match=r"task\.source=.* is not a folder"):
        GSM8K(source).load_test()


def test_a_file_as_source_is_an_error_that_names_the_key(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"task\.source=test\.jsonl is not a folder"):
        GSM8K("test.jsonl").load_test()


GOOD = json.dumps(ROW).encode()


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (GOOD + b"\n{broken\n", 2, "is not JSON"),
        (GOOD + b"\n" + GOOD[:-4] + b"\n", 2, "is not JSON"),
        (b"[" * 100_000, 1, "is not JSON"),
        (b'{"question": ' + b"9" * 5000 + b"}", 1, "is not JSON"),
        (GOOD + b"\n\n\n[1, 2]\n", 4, "is not a JSON object"),
        (b'"text"', 1, "is not a JSON object"),
        (b"null", 1, "is not a JSON object"),
        (b'{"question": "How?"}', 1, "field 'answer' is missing"),
        (b"{}", 1, "field 'question' is missing"),
        (b'{"question": 7, "answer": "#### 7"}', 1, "field 'question' must be a string, not 7"),
        (b'{"question": "How?", "answer": null}', 1, "field 'answer' must be a string, not null"),
        (b'{"question": "  ", "answer": "#### 7"}', 1, "field 'question' is empty"),
        (b'{"question": "\\ud800", "answer": "#### 7"}', 1, "half of a surrogate pair"),
        (GOOD + b'\n{"question": "caf\xe9", "answer": "#### 7"}', 2, "is not UTF-8"),
        (GOOD.decode().encode("utf-16"), 1, "is not UTF-8"),
        (b'{"question": "How?", "answer": "7"}', 1, "a sample without a gold answer"),
        (b'{"question": "How?", "answer": "####"}', 1, "a sample without a gold answer"),
        (b'{"question": "How?", "answer": "#### many"}', 1, "a sample without a gold answer"),
        (b'{"question": "How?", "answer": "#### 3/0"}', 1, "a sample without a gold answer"),
    ],
)
def test_a_malformed_line_is_an_error_with_file_and_line(folder, content, line, problem):
    (folder / "test.jsonl").write_bytes(content)
    with pytest.raises(UserError) as error:
        GSM8K(str(folder)).load_test()
    message = str(error.value)
    assert message.startswith(f"{folder}/test.jsonl:{line}")
    assert problem in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_an_error(folder, content):
    (folder / "test.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"test\.jsonl is empty"):
        GSM8K(str(folder)).load_test()


def test_a_missing_file_is_an_error_that_says_what_it_should_hold(folder):
    (folder / "train.jsonl").unlink()
    with pytest.raises(UserError, match=r"train\.jsonl cannot be read: No such file.*question, answer"):
        GSM8K(str(folder)).load_train()


def test_a_folder_in_the_place_of_the_file_is_an_error(folder):
    (folder / "train.jsonl").unlink()
    (folder / "train.jsonl").mkdir()
    with pytest.raises(UserError, match=r"train\.jsonl cannot be read: Is a directory"):
        GSM8K(str(folder)).load_train()


def test_read_jsonl_gives_all_fields_of_all_lines(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "1\xe2\x80\xa82", "b": [3]}\r\n\n{"a": "x"}')
    assert read_jsonl(path, ("a",)) == [{"a": "1\u20282", "b": [3]}, {"a": "x"}]


@needs_real
@pytest.mark.parametrize(("split", "count"), [("train", 7473), ("test", 1319)])
def test_each_real_answer_is_graded_correct_and_strict_against_its_own_gold(split, count):
    task = GSM8K(str(REAL))
    task.form = FORMS["hashes"]
    samples = getattr(task, f"load_{split}")()
    grades = [task.grade(sample.answer, sample.gold) for sample in samples]
    assert len(grades) == count
    assert all(grade.correct and grade.strict and not grade.run_on for grade in grades)
    assert all(grade.extracted == sample.gold for grade, sample in zip(grades, samples, strict=True))


@needs_real
def test_no_calculator_mark_is_left_in_real_answers():
    assert not any("<<" in sample.answer or ">>" in sample.answer for sample in GSM8K(str(REAL)).load_train())
