"""The progress on a terminal: what stands there, what stays, and how the terminal is left."""

import logging
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import run_main
from screen import Screen, Terminal

from chattpl import display, progress
from chattpl.progress import ANSWERS, STEPS, Left, Progress, Work

STEPS_OF_SFT = "sft.max_steps=12"
SWEEP = ["-m", "method=none,sft", "eval.format=chat", STEPS_OF_SFT]
TRAINED = "sft_chat_template--sft.max_steps=12"
TIME = re.compile(r"^\d\d:\d\d:\d\d  ")


@pytest.fixture(scope="module")
def swept(micro, tmp_path_factory) -> tuple[Path, Screen]:
    """A sweep on a terminal of 100 columns: its folder, and what was to be seen."""
    folder = tmp_path_factory.mktemp("swept")
    terminal = Terminal(*micro, *SWEEP, cwd=folder, columns=100)
    screen = terminal.read()
    assert terminal.status() == 0, screen.text
    return folder, screen


def test_the_display_counts_cells_and_steps(swept):
    seen = "\n".join(swept[1].states)
    assert "0 of 2 cells" in seen
    assert "1 of 2 cells" in seen
    assert re.search(r"training sft_chat_template\S+ step \d+ of 12", seen)
    assert re.search(r"\d:\d\d, (about|at least) \d+ s left", seen)


def test_the_display_is_never_more_than_two_lines(swept):
    for state in swept[1].states:
        assert sum("of 2 cells" in line for line in state.splitlines()) <= 1
        assert sum(line.startswith(("training ", "evaluating ", "starting")) for line in state.splitlines()) <= 1


def test_only_warnings_the_engine_and_finished_cells_stay_above_it(swept):
    kept = [TIME.sub("", line) for line in swept[1].text.splitlines() if TIME.match(line)]
    heads = ("2 jobs, ", "starting the engine", "the engine is up", f"{TRAINED}_eval_chat: accuracy", "base_eval_chat:")
    ends = ("report: ", "1 trained, 2 evaluated, 0 failed")
    assert [any(line.startswith(head) for line in kept) for head in heads + ends] == [True] * 7
    assert [line for line in kept if not line.startswith(heads + ends)] == []


def test_the_trainers_dictionaries_are_not_shown(swept):
    assert "{'" not in "\n".join([*swept[1].states, swept[1].text])


def test_the_table_stands_where_the_display_was(swept):
    assert "of 2 cells" not in swept[1].text
    assert "Rates in percent." in swept[1].text
    assert swept[1].cursor


def test_log_files_hold_plain_lines(swept):
    log = (swept[0] / f"outputs/few-micro/eval/{TRAINED}_eval_chat/main.log").read_text()
    assert re.search(r"INFO chattpl\.evaluation: answered 8 of 8\n", log)
    assert "\x1b" not in log


def test_a_file_gets_the_same_lines_whether_standard_error_is_a_terminal(micro, no_vllm, tmp_path):
    arguments = [*micro, "method=none", "task.test_limit=24", "eval.batch_size=1", "eval.max_tokens=24"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = run_main(*arguments, cwd=tmp_path / "a", PYTHONPATH=no_vllm).stdout
    terminal = Terminal(*arguments, cwd=tmp_path / "b", stdout=tmp_path / "out")
    shown = terminal.read()
    assert terminal.status() == 0
    without_figures = [re.sub(r"[\d.:]+", "", text) for text in (plain, (tmp_path / "out").read_text())]
    assert without_figures[0] == without_figures[1]
    seen = "\n".join(shown.states)
    assert "0 of 1 cell " in seen
    assert re.search(r"evaluating base_eval_\S+ answered \d+ of 24", seen)
    assert shown.text == ""


def test_an_interrupted_command_leaves_the_terminal_as_it_was(micro, tmp_path):
    arguments = [*micro, "method=sft", "sft.max_steps=5000", "sft.save_steps=5000"]
    terminal = Terminal(*arguments, cwd=tmp_path)
    assert not terminal.read(until=lambda screen: re.search(r"step [1-9]\d* of", screen.text)).cursor
    terminal.interrupt()
    screen = terminal.read()
    assert terminal.status() == 130
    assert screen.cursor
    assert screen.text.splitlines()[-1] == "interrupted; run the same command again to resume"
    assert "of 1 cell" not in screen.text


# Without a command


@pytest.fixture
def terminal(monkeypatch):
    """Makes the test's standard output and error a terminal, and returns a function that gives what it shows."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    progress.restart()
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        printed = b""

        def screen() -> Screen:
            nonlocal printed
            file.flush()
            while pending(master):
                printed += os.read(master, 65536)
            return Screen().feed(printed.decode())

        def take() -> Callable[[], Screen]:
            monkeypatch.setattr(sys, "stdout", file)
            monkeypatch.setattr(sys, "stderr", file)
            return screen

        yield take
        monkeypatch.undo()
    os.close(master)


def pending(handle: int) -> bool:
    return bool(select.select([handle], [], [], 0.1)[0])


def test_an_exception_leaves_the_terminal_as_it_was(terminal):
    screen = terminal()
    with pytest.raises(ValueError, match="broken"), display.shown():
        raise ValueError("broken")
    seen = screen()
    assert (seen.text, seen.cursor) == ("", True)


def test_what_is_printed_stands_above_the_display(terminal):
    screen = terminal()
    with display.shown():
        print("first")
        print("second", file=sys.stderr)
        seen = screen()
    assert seen.text.splitlines()[:2] == ["first", "second"]
    assert "0 cells" in seen.text.splitlines()[2]


@pytest.mark.parametrize("settings", [{"TERM": "dumb"}, {"TTY_INTERACTIVE": "0"}])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(terminal, monkeypatch, settings):
    screen = terminal()
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with display.shown():
        logger = logger_of("chattpl.plain")
        logger.info("a line")
    assert screen().text == "a line"


def test_no_colour_is_used_where_none_is_wanted(terminal, monkeypatch):
    screen = terminal()
    monkeypatch.setenv("NO_COLOR", "1")
    progress.current().expect(2, 1, 0, [])
    with display.shown():
        assert "1 of 2 cells" in screen().text


def logger_of(name: str) -> logging.Logger:
    logger = logging.Logger(name)
    logger.addHandler(display.LineHandler())
    return logger


def test_beside_the_display_only_warnings_and_finished_cells_have_lines(terminal):
    screen = terminal()
    logger = logger_of("chattpl.some")
    with display.shown():
        logger.info("step 1")
        logger.info("a cell", extra=display.STAYS)
        logger.warning("a warning")
        seen = screen()
    assert seen.text.splitlines()[:2] == ["a cell", "a warning"]
    assert "step 1" not in seen.text


def test_details_that_were_asked_for_are_shown(terminal, caplog):
    screen = terminal()
    caplog.set_level(logging.DEBUG, "chattpl")
    with display.shown():
        logger_of("chattpl.some").info("step 1")
        assert screen().text.splitlines()[0] == "step 1"


def test_an_engine_that_starts_has_the_terminal_to_itself(terminal):
    screen = terminal()
    with display.shown():
        with display.paused():
            os.write(sys.stderr.fileno(), b"[W] of native code\n")
            logger_of("chattpl.some").info("starting")
            alone = screen()
        back = screen()
    assert alone.text.splitlines()[-2:] == ["[W] of native code", "starting"]
    assert "0 cells" in back.text
    assert display._State.live is None


def test_a_forked_process_prints_without_the_display(terminal):
    screen = terminal()
    with display.shown():
        child = os.fork()
        if child == 0:
            os.write(sys.stdout.fileno(), f"{display._State.live} {type(sys.stdout).__name__}\n".encode())
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert "None TextIOWrapper" in screen().text


# What is said


def drawn(course: Progress, width: int = 80) -> list[str]:
    from rich.console import Console

    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(display.draw(course))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_long_name_does_not_wrap():
    course = Progress()
    course.expect(12, 3, 1, [])
    with course.working(Work("training", "sft_chat_template--" + "x" * 90, "sft")):
        lines = drawn(course)
    assert len(lines) == 2
    assert lines[0].startswith("3 of 12 cells, 1 failed")
    assert lines[1].endswith("… preparing")
    assert max(map(len, lines)) <= 80


def test_when_all_cells_are_done_it_no_longer_says_that_it_starts():
    course = Progress()
    course.expect(2, 0, 0, [])
    assert drawn(course)[1] == "starting"
    course.expect(2, 1, 1, [])
    assert drawn(course)[1] == "finishing"


def test_a_training_tells_its_step_its_rollouts_and_its_figures():
    course = Progress()
    with course.working(Work("training", "one", "grpo")):
        course.figures = "reward 0.4"
        course.count(3, 10, STEPS)
        course.count_part(5, 64)
        assert drawn(course)[1] == "training one: step 3 of 10, 5 of 64 rollouts, reward 0.4"
        course.count_part(64, 64)
        assert drawn(course)[1] == "training one: step 3 of 10, reward 0.4"


def test_an_evaluation_tells_what_is_answered():
    course = Progress()
    with course.working(Work("evaluating", "one")):
        course.count(512, 1319, ANSWERS)
        course.count_part(100, 512)
        assert drawn(course)[1] == "evaluating one: answered 612 of 1319"


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (Left(3, whole=True), "about 5 s"),
        (Left(42, whole=False), "at least 40 s"),
        (Left(100, whole=True), "about 2 min"),
        (Left(7500, whole=True), "about 2 h 5 min"),
    ],
)
def test_an_estimate_has_no_digits_that_mean_nothing(left, words):
    assert display._rounded(left) == words


BARS = """
from chattpl.runtime import runtime
runtime()
from tqdm import tqdm
from chattpl.generation.counting import CountingBar
for _ in tqdm(range(3), desc="theirs"):
    pass
bar = CountingBar(total=3)
bar.update(2)
print(bar.n)
"""


def test_bars_of_libraries_are_not_drawn_and_those_that_count_go_on_counting():
    done = subprocess.run([sys.executable, "-c", BARS], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
    assert "theirs" not in done.stderr
