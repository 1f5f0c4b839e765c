"""What requests and answers look like: the OpenAPI document is made from these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lexiseg.app.studio import OVERLAYS
from lexiseg.data.formats.known_formats import FORMATS

_MOST_WORDS = 20_000
ImageId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{32}$")]
Words = Annotated[
    str, Field(min_length=1, max_length=_MOST_WORDS, description='Class names: "cat, grass, sky".')
]
#: Every format that can be downloaded.
DOWNLOADS = (*FORMATS, OVERLAYS)
FormatName = Literal[DOWNLOADS]  # type: ignore[valid-type]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Changes(_Strict):
    """Settings of inference that may be changed; those left out are the model's."""

    background: Literal["none", "name", "words", "threshold"] | None = None
    threshold: float | None = None
    refine: Literal["none", "guided", "crf"] | None = None


class Question(Changes):
    """Words for an image; null asks for all classes of a model that has its own."""

    words: Words | None = None


class Pixel(_Strict):
    """A pixel, from the upper left corner."""

    x: int = Field(ge=0, le=1_000_000)
    y: int = Field(ge=0, le=1_000_000)


class DownloadRequest(_Strict):
    """Images, and the format that their label maps are wanted in."""

    images: list[ImageId] = Field(min_length=1, max_length=10_000)
    format: FormatName


class Image(BaseModel):
    """An image that was uploaded."""

    id: str
    name: str
    width: int
    height: int


class LabelledClass(BaseModel):
    """A class, and the part of the image that it has."""

    label: int
    name: str
    colour: str
    share: float
    mean_score: float | None


class Labelling(BaseModel):
    """What an image was labelled with; the label map has an address of its own."""

    revision: int
    corrected: bool
    absent_chance: float | None
    classes: list[LabelledClass]


class OneLabelling(BaseModel):
    """Classes that occur, and their masks as COCO's compressed run lengths."""

    width: int
    height: int
    model: str
    absent_chance: float | None
    classes: list[dict[str, Any]]
    masks: list[dict[str, Any]]


class Ranked(BaseModel):
    """A class and what it was judged by."""

    name: str
    value: float | None


class Found(BaseModel):
    """A piece of evidence."""

    kind: str
    name: str
    supports: str
    value: float | None
    measure: str
    image: str | None = None


class PixelExplanation(BaseModel):
    """Why a pixel has its label."""

    point: list[int]
    label: str
    score: float | None
    measure: str
    lower_wins: bool
    runner_up: str | None
    margin: float | None
    verdict: str
    ranking: list[Ranked]
    evidence: list[Found]
    notes: list[str]
    model: str


class State(BaseModel):
    """The server: its model, what it takes, and how many wait."""

    model: str
    notice: str | None
    vocabulary: list[str] | None
    formats: dict[str, str]
    max_upload_mb: int
    max_megapixels: int
    waiting: int
    images: int


class Problem(BaseModel):
    """What was being done, what was found, what was expected, what to do."""

    doing: str
    found: str
    expected: str
    fix: str


class Failure(BaseModel):
    """An answer that is none."""

    error: Problem
