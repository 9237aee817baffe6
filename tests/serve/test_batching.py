"""The queue and its thread: what shares a call, what is refused, what fails alone."""

import threading

import pytest

from lrd_jax.serve.batching import Batcher, QueueFull, Work


class Recorder:
    """Work that waits for `go` and keeps what it was called with."""

    def __init__(self):
        self.go, self.calls = threading.Event(), []

    def work(self, kind="a", most=4):
        return Work(kind, most, self.call)

    def call(self, values):
        self.go.wait(10)
        self.calls.append(list(values))
        if "bad" in values:
            raise ValueError("bad")
        return [value * 2 for value in values]


def hold(batcher, recorder):
    """Occupies the thread until `go`."""
    answer = batcher.submit(recorder.work("first"), 0)
    while len(batcher):
        pass
    return answer


def test_what_waits_is_called_together_by_kind_and_oldest_first():
    recorder, sizes = Recorder(), []
    batcher = Batcher(100, observe=lambda size, seconds: sizes.append(size))
    first = hold(batcher, recorder)
    answers = [batcher.submit(recorder.work("ab"[n % 2]), n) for n in range(12)]
    recorder.go.set()
    assert [answer.result(10) for answer in (first, *answers)] == [0, *range(0, 24, 2)]
    batcher.close()
    assert recorder.calls == [[0], [0, 2, 4, 6], [1, 3, 5, 7], [8, 10], [9, 11]]
    assert sizes == [1, 4, 4, 2, 2]


def test_beyond_the_limit_a_value_is_refused_and_the_others_are_answered():
    recorder = Recorder()
    batcher = Batcher(3)
    hold(batcher, recorder)
    answers = [batcher.submit(recorder.work(), n) for n in range(3)]
    with pytest.raises(QueueFull) as refused:
        batcher.submit(recorder.work(), 3)
    assert refused.value.retry_after >= 1
    recorder.go.set()
    assert [answer.result(10) for answer in answers] == [0, 2, 4]
    batcher.close()
    with pytest.raises(QueueFull):
        batcher.submit(recorder.work(), 0)


def test_a_bad_value_fails_alone():
    recorder = Recorder()
    batcher = Batcher(10)
    hold(batcher, recorder)
    answers = [batcher.submit(recorder.work(), value) for value in (1, "bad", 3)]
    recorder.go.set()
    assert (answers[0].result(10), answers[2].result(10)) == (2, 6)
    with pytest.raises(ValueError):
        answers[1].result(10)
    assert batcher.submit(recorder.work(), 4).result(10) == 8
    batcher.close()


def test_a_cancelled_value_is_not_called():
    recorder = Recorder()
    batcher = Batcher(10)
    hold(batcher, recorder)
    gone, stays = batcher.submit(recorder.work(), 1), batcher.submit(recorder.work(), 2)
    assert gone.cancel()
    recorder.go.set()
    assert stays.result(10) == 4
    batcher.close()
    assert recorder.calls == [[0], [2]]


def test_closing_answers_what_waits():
    recorder = Recorder()
    batcher = Batcher(10, max_wait=60)  # and does not wait for more
    answer = batcher.submit(recorder.work(), 1)
    recorder.go.set()
    batcher.close()
    assert answer.result(0) == 2


def test_a_call_that_is_not_full_waits_for_more():
    recorder = Recorder()
    recorder.go.set()
    batcher = Batcher(10, max_wait=30)
    answers = [batcher.submit(recorder.work(most=2), n) for n in range(2)]
    assert [answer.result(10) for answer in answers] == [0, 2]
    assert recorder.calls == [[0, 1]]
