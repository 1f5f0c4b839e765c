"""Give up on work that has no end: decoders of images and tokenizers of checkpoints that someone else wrote."""

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def within_time(action: Callable[[], Result], seconds: float) -> Result:
    """Do something in a thread of its own, and give up on it when it takes too long.

    Signals reach only the main thread, not what is inside C, and Windows has none; a thread can be left behind
    everywhere. One that hangs goes on in the background until the program ends. What keeps Python's lock for
    itself cannot be given up on; Pillow's decoders and tokenizers give it back while they work.

    Args:
        action: What to do.
        seconds: How long it may take.

    Raises:
        TimeoutError: It takes longer.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="lexiseg within time", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors.pop()  # held nowhere else: its frames hold what was worked on
    if not results:
        raise TimeoutError(f"no end after {seconds:g} s")
    return results[0]
