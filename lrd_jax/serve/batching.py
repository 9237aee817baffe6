"""Requests that arrive together become one call: a bounded queue, and one thread that makes all calls."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple


class QueueFull(Exception):
    """No place is free.

    Attributes:
      retry_after: in how many seconds there may be one, at least 1.
    """

    def __init__(self, retry_after: int) -> None:
        """Takes the seconds."""
        super().__init__(f"try again in {retry_after} s")
        self.retry_after = retry_after


@dataclasses.dataclass(frozen=True)
class Work:
    """What is done with values that come together.

    Attributes:
      kind: values whose work is of one kind share a call.
      most: how many values a call takes.
      call: values to as many answers, in the same order.
    """

    kind: Hashable
    most: int
    call: Callable[[Sequence[Any]], Sequence[Any]]


class _Job(NamedTuple):
    work: Work
    value: Any
    answer: Future[Any]
    arrived: float


class Batcher:
    """One thread that takes what waits, the oldest first together with all of its kind, and makes one call of it."""

    def __init__(
        self, limit: int, max_wait: float = 0.0, observe: Callable[[int, float], None] = lambda size, seconds: None
    ) -> None:
        """Starts the thread.

        Args:
          limit: how many values may wait.
          max_wait: how long a value may wait for others before a call that is not full, in seconds.
          observe: told the size of each batch and the seconds it took.
        """
        self._limit, self._max_wait, self._observe = limit, max_wait, observe
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_each = 0.01  # a moving mean over calls
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many values wait."""
        return len(self._waiting)

    def submit(self, work: Work, value: Any) -> Future[Any]:
        """The answer to come; it raises what the call raises for this value.

        Raises:
          QueueFull: too many wait, or the thread has been closed.
        """
        answer: Future[Any] = Future()
        with self._changed:
            if self._closed or len(self._waiting) >= self._limit:
                raise QueueFull(max(1, math.ceil(self._seconds_each * len(self._waiting))))
            self._waiting.append(_Job(work, value, answer, time.monotonic()))
            self._changed.notify()
        return answer

    def close(self) -> None:
        """Answers what waits, then ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            started = time.monotonic()
            jobs = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if jobs:
                _answer(jobs)
                seconds = time.monotonic() - started
                self._seconds_each += 0.1 * (seconds / len(jobs) - self._seconds_each)
                self._observe(len(jobs), seconds)

    def _take(self) -> list[_Job]:
        """The next batch; empty after the last one."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if not self._waiting:
                return []
            work, deadline = self._waiting[0].work, self._waiting[0].arrived + self._max_wait
            while len(batch := self._of_kind(work)) < work.most and not self._closed:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            taken = {id(job) for job in batch}
            self._waiting = deque(job for job in self._waiting if id(job) not in taken)
            return batch

    def _of_kind(self, work: Work) -> list[_Job]:
        return [job for job in self._waiting if job.work.kind == work.kind][: work.most]


def _answer(jobs: list[_Job]) -> None:
    """One call for all; if it fails and there are several, one call for each, so that only the bad ones fail."""
    try:
        answers = jobs[0].work.call([job.value for job in jobs])
        assert len(answers) == len(jobs)
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].answer.set_exception(error)
            return
        for job in jobs:
            _answer([job])
        return
    for job, answer in zip(jobs, answers, strict=True):
        job.answer.set_result(answer)
