"""Which job of a sweep comes next where several run side by side."""

from chattpl.queue import Queue, Queued


def jobs(*models: str, engine: str = "one") -> list[Queued]:
    return [Queued([], model, engine) for model in models]


def taken(queue: Queue, count: int, engines=()) -> list[int | None]:
    return [queue.take(engines) for _ in range(count)]


def test_models_are_trained_first_and_a_job_waits_for_the_one_that_trains_its_model():
    queue = Queue(jobs("a", "a", "", "b", "b"))
    assert taken(queue, 4) == [0, 3, 2, None]
    queue.end(3)
    assert taken(queue, 2) == [4, None]
    queue.end(0)
    assert taken(queue, 2) == [1, None]


def test_jobs_for_a_model_that_failed_to_train_are_not_kept_back():
    queue = Queue(jobs("a", "a", "a"))
    assert taken(queue, 2) == [0, None]
    queue.end(0)
    assert taken(queue, 2) == [1, 2]


def test_a_worker_keeps_its_engine_as_long_as_there_is_work_for_it():
    queue = Queue([*jobs("a"), *jobs("b", "", engine="other"), *jobs("")])
    assert taken(queue, 4, {"other"}) == [1, 2, 0, 3]
