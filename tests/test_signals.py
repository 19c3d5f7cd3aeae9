"""What a launcher that listens for SIGUSR2, as submitit does, hears of a signal, and when."""

import os
import signal

import pytest

from chattpl import signals
from chattpl.errors import Interrupted


@pytest.fixture
def requeued():
    """The signals that the launcher heard of."""
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: heard.append(signum))
    yield heard
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A stand-in for `scontrol` that prints this of the job."""

    def says(text: str) -> None:
        tool = tmp_path / "scontrol"
        tool.write_text(f"#!/bin/sh\necho 'JobId=1 JobState=RUNNING {text} EndTime=Unknown'\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return says


def end_after(signum: int, heard: list[int]) -> None:
    """A job that gets the signal, and saves something before it ends."""
    with signals.handled(), signals.deferrable():
        signals.defer()
        os.kill(os.getpid(), signum)
        assert signals.pending()
        assert not heard


def test_a_job_is_queued_again_once_what_can_be_saved_is_saved(requeued):
    with pytest.raises(Interrupted):
        end_after(signal.SIGUSR2, requeued)
    assert requeued == [signal.SIGUSR2]


@pytest.mark.parametrize(("text", "times"), [("PreemptTime=2026-11-23T20:43:03", 1), ("PreemptTime=None", 0), ("", 0)])
def test_of_the_jobs_that_are_ended_those_are_queued_again_that_make_room(requeued, slurm, text, times):
    slurm(text)
    with pytest.raises(Interrupted):
        end_after(signal.SIGTERM, requeued)
    assert len(requeued) == times


def test_without_slurm_a_job_that_is_ended_ends(requeued, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Interrupted):
        end_after(signal.SIGTERM, requeued)
    assert not requeued


def test_sigusr2_is_left_alone_where_nobody_listens_for_it():
    before = signal.getsignal(signal.SIGUSR2)
    with signals.handled():
        assert signal.getsignal(signal.SIGUSR2) is before
