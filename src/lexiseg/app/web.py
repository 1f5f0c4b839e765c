"""The addresses of the server: a page, and the endpoint that it and programs ask."""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ConfigDict
from starlette.exceptions import HTTPException

from lexiseg.app.fair_queue import FairQueue, Visitor
from lexiseg.app.guards import Guards
from lexiseg.app.limits import Limits
from lexiseg.app.messages import (
    Changes,
    DownloadRequest,
    Failure,
    Image,
    Labelling,
    OneLabelling,
    Pixel,
    PixelExplanation,
    Question,
    State,
    Words,
)
from lexiseg.app.refusals import RefusalError, as_json, headers_of, status_of
from lexiseg.app.studio import OVERLAYS, Studio
from lexiseg.core.errors import LexisegError
from lexiseg.data.formats.known_formats import FORMATS
from lexiseg.inference.segmenter import Segmenter

Result = TypeVar("Result")

_PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/api": ("api.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/editor.js": ("editor.js", "text/javascript; charset=utf-8"),
    "/api.js": ("api.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": Failure, "description": text}
    for status, text in {
        400: "The Host header or the body is none of this server's.",
        403: "Another site's page asked.",
        404: "The image is not there.",
        408: "The body did not come in time.",
        409: "The image was asked nothing yet, or something else since.",
        413: "Too large.",
        422: "It cannot be used as it is.",
        429: "This visitor has too many requests waiting.",
        501: "The server lacks a package for this format.",
        503: "Too many requests are waiting.",
    }.items()
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_PAGE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{32}$")]


def _bytes_answer(media: str, text: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {media: _BINARY}, "description": text}, **_FAILURES}


def build_app(model: Segmenter, limits: Limits | None = None, hosts: Collection[str] = ()) -> FastAPI:
    """Build the server's application.

    Args:
        model: What labels. It is asked by one thread at a time.
        limits: What is taken.
        hosts: Names that the server may be asked by, beside localhost and addresses in numbers.
    """
    limits = limits or Limits()
    studio, queue = Studio(model, limits), FairQueue(limits.max_waiting, limits.max_waiting_each)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(queue.close)

    app = FastAPI(
        title="Lexiseg",
        version="1",
        summary="Segment photographs by words.",
        docs_url=None,  # they load scripts of another host; /api is ours
        redoc_url=None,
        lifespan=lifespan,
        responses=_FAILURES,
    )
    app.state.studio, app.state.queue = studio, queue
    app.add_middleware(Guards, limits=limits, hosts=frozenset(each.lower() for each in hosts))
    _add_failures(app)
    _add_pages(app)

    async def in_turn(request: Request, action: Callable[[], Result]) -> Result:
        return await asyncio.wrap_future(queue.submit(visitor_of(request), action))

    _add_images(app, studio, in_turn)
    _add_answers(app, studio, limits, in_turn)

    @app.get("/api/state")
    async def state() -> State:
        """Tell the model, what the server takes, and how many requests wait."""
        return State(
            model=model.name,
            notice=model.notice,
            vocabulary=None if model.vocabulary is None else list(model.vocabulary.names),
            formats={
                **{name: each.title for name, each in FORMATS.items()},
                OVERLAYS: "images with colours and names",
            },
            max_upload_mb=limits.max_upload_mb,
            max_megapixels=limits.max_megapixels,
            waiting=queue.num_waiting,
            images=len(studio.images),
        )

    return app


InTurn = Callable[[Request, Callable[[], Any]], Awaitable[Any]]


def _add_images(app: FastAPI, studio: Studio, in_turn: InTurn) -> None:
    @app.post("/api/images", status_code=201, openapi_extra=_FILE_BODY)
    async def upload(request: Request, name: Annotated[str, Query(max_length=1000)] = "image.png") -> Image:
        """Upload an image file as the body: it is read and encoded once, and kept for a while under an id of its own."""
        body = await request.body()
        return Image(**await in_turn(request, lambda: studio.add(visitor_of(request), name, body)))

    @app.delete("/api/images/{image_id}", status_code=204)
    async def remove(image_id: _ID) -> None:
        """Forget an image."""
        studio.images.remove(image_id)

    @app.get(
        "/api/images/{image_id}/preview",
        response_class=Response,
        responses=_bytes_answer("image/jpeg", "A JPEG of at most 1,600 pixels a side."),
    )
    async def preview(request: Request, image_id: _ID) -> Response:
        """Show an image, upright, as a JPEG of at most 1,600 pixels a side."""
        return Response(await in_turn(request, lambda: studio.preview(image_id)), media_type="image/jpeg")


def _add_answers(app: FastAPI, studio: Studio, limits: Limits, in_turn: InTurn) -> None:
    def check_words(words: str | None) -> None:
        if words is not None and len(words) > limits.max_words:
            raise RefusalError(
                422,
                doing="reading the words",
                found=f"{len(words):,} characters",
                expected=f"at most {limits.max_words:,}",
                fix="Ask for fewer words at a time.",
            )

    @app.post("/api/images/{image_id}/answer")
    async def ask(request: Request, image_id: _ID, question: Question) -> Labelling:
        """Label an image with words. It is not encoded again: this takes little time. Corrections are forgotten."""
        check_words(question.words)
        changes = changed(question)
        return Labelling(**await in_turn(request, lambda: studio.ask(image_id, question.words, changes)))

    @app.get(
        "/api/images/{image_id}/labels",
        response_class=Response,
        responses=_bytes_answer(
            "application/octet-stream", "Two bytes a pixel, low byte first; 65535 is void."
        ),
    )
    async def labels(
        request: Request, image_id: _ID, revision: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        """Read the label map: 16-bit numbers, row by row, low byte first, packed by gzip where the client takes that."""
        content = await in_turn(request, lambda: studio.labels(image_id, revision))
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(content, media_type="application/octet-stream")
        packed = await asyncio.to_thread(gzip.compress, content, 1)
        return Response(packed, media_type="application/octet-stream", headers={"Content-Encoding": "gzip"})

    @app.put("/api/images/{image_id}/labels", openapi_extra=_FILE_BODY)
    async def correct(request: Request, image_id: _ID) -> Labelling:
        """Send a corrected label map, whole, in the form in which it is read. Downloads give it from now on."""
        body = await request.body()
        return Labelling(**await in_turn(request, lambda: studio.correct(image_id, body)))

    @app.post("/api/images/{image_id}/explanation")
    async def explain(request: Request, image_id: _ID, pixel: Pixel) -> PixelExplanation:
        """Tell why a pixel got its label by the last words: what decided, the runner-up and the margin."""
        return PixelExplanation(**await in_turn(request, lambda: studio.explain(image_id, pixel.x, pixel.y)))

    @app.post(
        "/api/download",
        response_class=Response,
        responses=_bytes_answer("application/octet-stream", "A file of the format, or a zip of its files."),
    )
    async def download(request: Request, wanted: DownloadRequest) -> Response:
        """Write the label maps of images in a format of another tool."""
        if len(wanted.images) > limits.max_download:
            raise RefusalError(
                422,
                doing="writing a download",
                found=f"{len(wanted.images):,} images",
                expected=f"at most {limits.max_download:,}",
                fix="Ask for some at a time.",
            )
        name, content = await in_turn(request, lambda: studio.download(wanted.images, wanted.format))
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)

    @app.post("/api/segment", openapi_extra=_FILE_BODY)
    async def segment(
        request: Request,
        changes: Annotated[_Question, Query()],
    ) -> OneLabelling:
        """Label an image file, sent as the body, and keep nothing: for programs. Masks come as COCO run lengths."""
        check_words(changes.words)
        body = await request.body()
        settings = changed(changes)
        return OneLabelling(**await in_turn(request, lambda: studio.once(body, changes.words, settings)))


class _Question(Changes):
    """The settings and words of one request, from its address."""

    model_config = ConfigDict(strict=False)
    words: Words | None = None


def changed(changes: Changes) -> dict[str, Any]:
    """Return the settings that a request names."""
    given = changes.model_dump(exclude_none=True)
    given.pop("words", None)
    return given


def visitor_of(request: Request) -> Visitor:
    """Tell who asks: the address, and what the open page calls itself."""
    page = request.headers.get("x-lexiseg-page", "")
    host = "" if request.client is None else request.client.host
    return Visitor(host=host, page=page if _PAGE_NAME.fullmatch(page) else "")


def _add_pages(app: FastAPI) -> None:
    folder = files("lexiseg.app") / "page"

    def add(path: str, name: str, media: str) -> None:
        content = (folder / name).read_bytes()

        @app.get(path, include_in_schema=False)
        async def page() -> Response:
            return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    for path, (name, media) in _PAGES.items():
        add(path, name, media)


def _failed(status: int, parts: Mapping[str, str], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": dict(parts)}, status, headers=dict(headers or {}))


def _add_failures(app: FastAPI) -> None:
    @app.exception_handler(LexisegError)
    async def refused(_: Request, error: LexisegError) -> JSONResponse:
        return JSONResponse(as_json(error), status_of(error), headers=dict(headers_of(error)))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(each) for each in first["loc"])
        parts = {
            "doing": "reading a request",
            "found": f"{place}: {first['msg']}"[:500],
            "expected": "what the OpenAPI document says",
            "fix": "See /api.",
        }
        return _failed(422, parts)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        parts = {
            "doing": "answering a request",
            "found": str(error.detail),
            "expected": "an address and a method of this server",
            "fix": "See /api.",
        }
        return _failed(error.status_code, parts, error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        parts = {
            "doing": "answering a request",
            "found": f"a fault of the server: {type(error).__name__}",
            "expected": "an answer",
            "fix": "Tell whoever runs it; the terminal says where it happened.",
        }
        return _failed(500, parts)
