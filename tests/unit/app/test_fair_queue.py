import threading
from concurrent.futures import CancelledError

import pytest

from lexiseg.app.fair_queue import FairQueue, Visitor
from lexiseg.app.refusals import RefusalError


def visitor(page: str, host: str = "a") -> Visitor:
    return Visitor(host=host, page=page)


@pytest.fixture
def held():
    """A queue whose thread is busy until the event is set."""
    queue, release = FairQueue(max_waiting=12, max_waiting_each=6), threading.Event()
    started = threading.Event()

    def hold() -> None:
        started.set()
        release.wait()

    queue.submit(visitor("first"), hold)
    started.wait()
    yield queue, release
    release.set()
    queue.close()


def test_pages_and_hosts_take_turns_whoever_came_first(held):
    queue, release = held
    done: list[str] = []
    futures = [queue.submit(visitor("greedy"), lambda: done.append("greedy")) for _ in range(4)]
    futures += [queue.submit(visitor("modest"), lambda: done.append("modest"))]
    futures += [queue.submit(visitor("other", "b"), lambda: done.append("other host")) for _ in range(2)]
    release.set()
    for future in futures:
        future.result(5)
    assert done == ["greedy", "other host", "modest", "other host", "greedy", "greedy", "greedy"]


@pytest.mark.parametrize(
    ("pages", "status", "found"),
    [(["one"] * 7, 429, "6 requests"), ([str(number // 4) for number in range(13)], 503, "12 requests")],
)
def test_too_many_are_refused_and_told_when_to_come_again(held, pages, status, found):
    queue, release = held
    for page in pages[:-1]:
        queue.submit(visitor(page), lambda: None)
    with pytest.raises(RefusalError, match=found) as refused:
        queue.submit(visitor(pages[-1]), lambda: None)
    assert refused.value.status == status
    assert refused.value.retry_after
    release.set()


def test_what_fails_says_so_and_the_next_one_runs(held):
    queue, release = held

    def fail() -> None:
        raise ValueError("no")

    failed, fine = queue.submit(visitor("a"), fail), queue.submit(visitor("a"), lambda: 7)
    release.set()
    with pytest.raises(ValueError, match="no"):
        failed.result(5)
    assert fine.result(5) == 7
    assert queue.num_waiting == 0


def test_whoever_leaves_costs_nothing_and_a_closed_queue_cancels(held):
    queue, release = held
    left = queue.submit(visitor("a"), lambda: pytest.fail("nobody waits for it"))
    assert left.cancel()
    release.set()
    assert queue.submit(visitor("a"), lambda: 1).result(5) == 1
    queue.close()
    with pytest.raises(RefusalError):
        queue.submit(visitor("a"), lambda: 1)
    with pytest.raises(CancelledError):
        left.result(0)
