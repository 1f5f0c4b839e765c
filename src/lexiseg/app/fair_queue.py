"""One thread for the model, and turns for those who wait: whoever asks for much waits for it alone."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from lexiseg.app.refusals import RefusalError

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Who asks.

    Attributes:
        host: Address that the request came from.
        page: What the open page calls itself; empty for a program that says nothing.
    """

    host: str
    page: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    visitor: Visitor
    action: Callable[[], Any]
    future: "Future[Any]"


class _Turns:
    """Queues by key that are served one after the other, one job each."""

    def __init__(self) -> None:
        self._of_key: OrderedDict[Hashable, deque[_Job] | _Turns] = OrderedDict()

    def put(self, keys: tuple[Hashable, ...], job: _Job) -> None:
        key, *rest = keys
        if rest:
            inner = self._of_key.setdefault(key, _Turns())
            assert isinstance(inner, _Turns)
            inner.put(tuple(rest), job)
        else:
            jobs = self._of_key.setdefault(key, deque())
            assert isinstance(jobs, deque)
            jobs.append(job)

    def take(self) -> _Job:
        key, first = next(iter(self._of_key.items()))
        job = first.popleft() if isinstance(first, deque) else first.take()
        if first:
            self._of_key.move_to_end(key)
        else:
            del self._of_key[key]
        return job

    def __len__(self) -> int:
        return len(self._of_key)


class FairQueue:
    """Run actions one at a time in a thread of its own; hosts take turns, and of a host its pages do.

    Args:
        max_waiting: Actions that may wait, all together.
        max_waiting_each: Those of one visitor.
    """

    def __init__(self, max_waiting: int, max_waiting_each: int) -> None:
        self.max_waiting, self.max_waiting_each = max_waiting, max_waiting_each
        self._turns = _Turns()
        self._waiting: dict[Visitor, int] = {}
        self._num_waiting = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="lexiseg serve", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Actions that wait now."""
        return self._num_waiting

    def submit(self, visitor: Visitor, action: Callable[[], Result]) -> "Future[Result]":
        """Put an action at the end of a visitor's queue.

        Raises:
            RefusalError: Too much is waiting: 429 of this visitor's, 503 of everyone's.
        """
        future: Future[Result] = Future()
        with self._changed:
            own = self._waiting.get(visitor, 0)
            if self._is_closed or self._num_waiting >= self.max_waiting:
                raise _full(503, self._num_waiting, f"at most {self.max_waiting} for everyone")
            if own >= self.max_waiting_each:
                raise _full(429, own, f"at most {self.max_waiting_each} for one visitor")
            self._waiting[visitor] = own + 1
            self._num_waiting += 1
            job = _Job(visitor=visitor, action=action, future=future)
            self._turns.put((visitor.host, visitor.page), job)
            self._changed.notify()
        return future

    def close(self) -> None:
        """Let the thread end; what still waits is cancelled."""
        with self._changed:
            self._is_closed = True
            while self._turns:
                self._turns.take().future.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._turns:
                    if self._is_closed:
                        return
                    self._changed.wait()
                job = self._turns.take()
                self._num_waiting -= 1
                self._waiting[job.visitor] -= 1
                if not self._waiting[job.visitor]:
                    del self._waiting[job.visitor]
            if job.future.set_running_or_notify_cancel():  # else nobody waits for it any more
                try:
                    job.future.set_result(job.action())
                except BaseException as error:
                    job.future.set_exception(error)
            del job  # an action holds what it works on


def _full(status: int, found: int, expected: str) -> RefusalError:
    return RefusalError(
        status,
        doing="waiting for the model",
        found=f"{found} requests that wait already",
        expected=expected,
        fix="Try again in a few seconds.",
        retry_after=2,
    )
