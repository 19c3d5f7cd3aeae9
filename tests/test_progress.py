"""What is left of a command, by what was seen of it so far."""

import pytest

from chattpl.progress import ANSWERS, STEPS, Left, Progress, Work

TRAIN, OTHER, ASK, ASK_OTHER = (
    Work("training", "one", "sft"),
    Work("training", "two", "sft"),
    Work("evaluating", "one in chat"),
    Work("evaluating", "two in chat"),
)


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def course(clock) -> Progress:
    return Progress(clock)


def do(course: Progress, clock: Clock, work: Work, seconds: float) -> None:
    with course.working(work):
        clock.now += seconds


def test_nothing_is_said_before_anything_was_seen(course):
    course.expect(2, 0, 0, [TRAIN, ASK])
    assert course.left() is None


def test_work_takes_as_long_as_that_of_its_kind_took_on_average(course, clock):
    course.expect(4, 0, 0, [TRAIN, OTHER, ASK, ASK_OTHER])
    do(course, clock, TRAIN, 100)
    do(course, clock, ASK, 10)
    assert course.left() == Left(110, whole=True)


def test_with_work_of_a_kind_that_was_never_seen_it_is_a_lower_bound(course, clock):
    course.expect(2, 0, 0, [TRAIN, OTHER, ASK])
    do(course, clock, TRAIN, 100)
    assert course.left() == Left(100, whole=False)


def test_the_work_in_hand_goes_on_at_the_pace_it_has_without_its_start(course, clock):
    course.expect(1, 0, 0, [TRAIN])
    with course.working(TRAIN):
        clock.now += 60  # loading
        course.count(0, 10, STEPS)
        clock.now += 30  # compiling
        course.count(1, 10, STEPS)
        clock.now += 4
        course.count(3, 10, STEPS)
        assert course.left() == Left(14, whole=True)


def test_the_estimate_counts_down_between_two_steps(course, clock):
    course.expect(1, 0, 0, [TRAIN])
    with course.working(TRAIN):
        for step in range(3):
            clock.now += 2
            course.count(step, 10, STEPS)
        clock.now += 1
        assert course.left() == Left(15, whole=True)


def test_a_training_that_was_resumed_has_the_pace_of_the_steps_that_were_seen(course, clock):
    course.expect(1, 0, 0, [TRAIN])
    with course.working(TRAIN):
        for step in (70, 71, 76):
            clock.now += 10
            course.count(step, 100, STEPS)
        assert course.left() == Left(48, whole=True)


def test_the_first_training_tells_how_long_the_next_will_take(course, clock):
    course.expect(2, 0, 0, [TRAIN, OTHER])
    with course.working(TRAIN):
        for step in range(6):
            clock.now += 10
            course.count(step, 10, STEPS)
        assert course.left() == Left(50 + 110, whole=True)


def test_answers_within_a_batch_count(course, clock):
    course.expect(1, 0, 0, [ASK])
    with course.working(ASK):
        course.count(0, 200, ANSWERS)
        for completed in (10, 30, 50):
            clock.now += 5
            course.count_part(completed, 100)
        assert course.left() == Left(37.5, whole=True)


def test_rollouts_within_a_step_are_no_steps(course, clock):
    course.expect(1, 0, 0, [TRAIN])
    with course.working(TRAIN):
        course.count(0, 10, STEPS)
        clock.now += 5
        course.count_part(30, 40)
        assert course.left() is None


def test_where_nobody_knows_how_many_cells_there_are_nothing_is_said(course, clock):
    do(course, clock, TRAIN, 5)
    with course.working(OTHER):
        assert course.left() is None


def test_what_another_process_did_is_not_waited_for(course):
    course.expect(1, 0, 0, [TRAIN, ASK])
    with course.cell([TRAIN, ASK]):
        pass
    assert (course.done, course.left()) == (1, None)


def test_a_failed_training_says_nothing_on_how_long_one_takes(course, clock):
    course.expect(2, 0, 0, [TRAIN, OTHER])
    with pytest.raises(ZeroDivisionError), course.cell([TRAIN]), course.working(TRAIN):
        1 / clock.now
    assert (course.done, course.failed, course.left()) == (0, 1, None)
