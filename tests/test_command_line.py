"""What a shell sees of the command: its options, tab completion, pipes."""

import os
import subprocess
import sys

import pytest
from command_line import command
from conftest import ROOT, run_main


def run_installed(script: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """`chattpl ARGUMENTS` as the shell starts it: Hydra names the command after the file in `argv[0]`."""
    start = f"import sys; sys.argv[0] = '/bin/{script}'; from chattpl.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environment", {})}
    return subprocess.run(
        [sys.executable, "-c", start, *arguments], env=environment, text=True, timeout=60, check=False, **options
    )


def completions(typed: str) -> list[str]:
    """What Tab offers after `typed`, asked for as the script of `-sc install=bash` does."""
    line = f"chattpl {typed}"
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = run_installed("chattpl", "-sc", "query=bash", environment=asked, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_the_completion_script_is_for_the_command_chattpl():
    done = run_installed("chattpl", "-sc", "install=bash", capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("complete -o nospace -o default -F hydra_bash_completion chattpl")


def test_tab_offers_the_experiments():
    names = ["base", "grpo_chat_template", "grpo_no_chat", "sft_chat_template", "sft_no_chat_mask_q"]
    assert {f"experiment={name}" for name in names} <= set(completions("experiment="))


def test_tab_offers_the_methods():
    assert completions("method=") == ["method=grpo", "method=none", "method=sft"]


def test_tab_offers_the_value_that_a_dotted_key_has():
    assert completions("train.method=") == ["train.method=sft"]


def test_tab_completes_a_key_after_other_overrides():
    assert completions("-m seed=1 train.meth") == ["train.method="]


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["-sc", "install=bash"]])
def test_a_reader_that_stops_reading_gets_no_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)  # as when `head` has ended
    buffered = {"PYTHONUNBUFFERED": ""}
    done = run_installed("chattpl", *arguments, environment=buffered, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_the_first_line_of_the_help_can_be_cut_off(tmp_path):
    line = f"{sys.executable} -m chattpl.main --help | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("chattpl is powered by Hydra.\n", "")


def test_showing_the_configuration_of_a_sweep_is_an_error_of_one_line(tmp_path):
    ended = command("-m", "--cfg", "job", cwd=tmp_path)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_optuna_searches_for_the_best_figure(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'chattpl[search]'")
    done = run_main("hydra/sweeper=optuna", "--cfg", "hydra", "--package", "hydra.sweeper", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "direction: maximize" in done.stdout


def test_libraries_add_nothing_to_what_a_run_says(tmp_path):
    done = run_main("method=none", "eval.format=raw", "task.test_limit=4", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
