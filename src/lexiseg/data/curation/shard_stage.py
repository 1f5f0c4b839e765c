"""A stage as work on shards: what ``runs.bulk.stage`` knows of it."""

from abc import ABC, abstractmethod
from pathlib import Path


class ShardStage(ABC):
    """Work that is done shard by shard, in any order and by any process.

    Instances cross process borders: what is expensive to open is opened on first use.

    Attributes:
        name: For messages and progress.
    """

    name: str

    @abstractmethod
    def shards(self) -> int:
        """Count the shards."""

    @abstractmethod
    def target(self, number: int) -> Path:
        """Return the file that is there when a shard is done."""

    @abstractmethod
    def work(self, number: int) -> None:
        """Do one shard. Whoever does it, and in whatever company, writes the same bytes, whole or not at all."""

    def pending(self) -> list[int]:
        """List the shards that are not done."""
        return [number for number in range(self.shards()) if not self.target(number).is_file()]
