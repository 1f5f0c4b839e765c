"""Begun: which tasks of a pass through Ray have been begun. Imports nothing: an actor of its own holds it."""


class Begun:
    """Ray does a task again when its worker dies; whoever asks here does no task twice."""

    def __init__(self) -> None:
        self._tasks: set[int] = set()

    def is_first(self, task: int) -> bool:
        """Note that a task is begun; return whether it is for the first time."""
        is_first = task not in self._tasks
        self._tasks.add(task)
        return is_first
