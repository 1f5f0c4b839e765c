"""How much a server takes before it says no."""

from dataclasses import dataclass

from lexiseg.core.setting_ranges import Range, check_ranges


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a server.

    Attributes:
        max_upload_mb: Largest body of a request, in MiB.
        max_megapixels: Largest image, in millions of pixels; known from its header, before it is decoded.
        memory_mb: Memory of all images that are kept with their features, in MiB; the oldest of whoever has most go first.
        max_in_flight_mb: Bodies that are being read or wait, all together, in MiB.
        max_waiting: Requests that wait for the model, all together.
        max_waiting_each: Those of one visitor.
        max_words: Characters of the words.
        max_download: Images in one download.
        body_seconds: Time in which a body must have come.
    """

    max_upload_mb: int = 32
    max_megapixels: int = 40
    memory_mb: int = 2048
    max_in_flight_mb: int = 256
    max_waiting: int = 128
    max_waiting_each: int = 16
    max_words: int = 4000
    max_download: int = 500
    body_seconds: float = 60.0

    def __post_init__(self) -> None:
        names = (
            "max_upload_mb", "max_megapixels", "memory_mb", "max_in_flight_mb", "max_waiting", "max_waiting_each",
            "max_words", "max_download",
        )  # fmt: skip
        ranges = {name: Range(least=1) for name in names}
        check_ranges(self, {**ranges, "body_seconds": Range(least=0, above=True)}, method="the server")

    @property
    def max_body(self) -> int:
        """Largest body in bytes."""
        return self.max_upload_mb * 2**20
