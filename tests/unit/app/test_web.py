"""The server by its addresses, with a model whose words are colours."""

import asyncio
import io
import json
import re
import struct
import zipfile
import zlib

import httpx2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the server needs FastAPI (extra app)")
from starlette.testclient import TestClient

from lexiseg.app.guards import HEADERS, MAX_JSON_BYTES
from lexiseg.app.limits import Limits
from lexiseg.app.messages import DOWNLOADS
from lexiseg.app.studio import safe_name
from lexiseg.app.web import build_app
from striped_pictures import STRIPES, picture
from toy_segmenter import ColourSegmenter

LIMITS = Limits(max_upload_mb=1, max_megapixels=1, memory_mb=8, max_words=200, body_seconds=5.0)
WORDS = {"words": "red, green, blue"}


@pytest.fixture
def client():
    with TestClient(
        build_app(ColourSegmenter(), LIMITS, ["photos.example"]), base_url="http://localhost"
    ) as opened:
        yield opened


def upload(client, content: bytes, name: str = "a.png") -> dict:
    answer = client.post("/api/images", params={"name": name}, content=content)
    assert answer.status_code == 201, answer.text
    return answer.json()


def labels_of(client, image: dict) -> np.ndarray:
    content = client.get(f"/api/images/{image['id']}/labels").content
    return np.frombuffer(content, "<u2").reshape(image["height"], image["width"])


def problem(answer) -> str:
    """The found part of a refusal; anything else fails."""
    assert answer.headers["content-type"].startswith("application/json")
    error = answer.json()["error"]
    assert set(error) == {"doing", "found", "expected", "fix"}
    assert all(error.values())
    return error["found"]


def test_an_image_is_encoded_once_and_asked_again(client, monkeypatch):
    model = client.app.state.studio.model
    encodings = []
    encode = model.encode_images
    monkeypatch.setattr(model, "encode_images", lambda images: (encodings.append(1), encode(images))[1])
    image = upload(client, picture("red", "blue"), "two stripes.png")
    assert (image["name"], image["width"], image["height"]) == ("two stripes.png", 64, 32)
    first = client.post(f"/api/images/{image['id']}/answer", json=WORDS).json()
    assert [round(each["share"], 1) for each in first["classes"]] == [0.5, 0.0, 0.5]
    second = client.post(f"/api/images/{image['id']}/answer", json={"words": "green, blue"}).json()
    assert second["revision"] > first["revision"]
    assert [each["name"] for each in second["classes"]] == ["green", "blue"]
    assert len(encodings) == 1
    assert (labels_of(client, image)[:, 40:] == 1).all()
    stale = client.get(f"/api/images/{image['id']}/labels", params={"revision": first["revision"]})
    assert (stale.status_code, problem(stale)) == (409, f"revision {second['revision']}")
    assert client.get(f"/api/images/{image['id']}/preview").content[:2] == b"\xff\xd8"


def test_a_pixel_is_explained(client):
    image = upload(client, picture("red", "blue"))
    client.post(f"/api/images/{image['id']}/answer", json=WORDS)
    found = client.post(f"/api/images/{image['id']}/explanation", json={"x": 50, "y": 5}).json()
    assert found["label"] == "blue"
    assert found["runner_up"] in ("red", "green")
    assert found["margin"] > 0
    outside = client.post(f"/api/images/{image['id']}/explanation", json={"x": 64, "y": 5})
    assert outside.status_code == 422
    assert "the point (64, 5)" in problem(outside)


def test_a_correction_is_what_is_downloaded_until_new_words_are_asked(client):
    image = upload(client, picture("red", "blue"))
    client.post(f"/api/images/{image['id']}/answer", json=WORDS)
    labels = labels_of(client, image).copy()
    labels[:10] = 1
    labels[10:12] = 65535
    corrected = client.put(f"/api/images/{image['id']}/labels", content=labels.tobytes()).json()
    assert corrected["corrected"]
    assert corrected["classes"][1]["share"] == pytest.approx(10 / 32)
    np.testing.assert_array_equal(labels_of(client, image), labels)
    wanted = {"images": [image["id"]], "format": "png"}
    packed = zipfile.ZipFile(io.BytesIO(client.post("/api/download", json=wanted).content))
    written = np.asarray(Image.open(packed.open("png/labels/a.png")))
    np.testing.assert_array_equal(written, np.where(labels == 65535, 255, labels))
    again = client.post(f"/api/images/{image['id']}/answer", json=WORDS).json()
    assert not again["corrected"]
    assert (labels_of(client, image) != 1).all()


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"", "0 bytes"), (b"\0" * 4095, "4,095 bytes"), (b"\x03\0" * 2048, "the label 3")],
)
def test_a_correction_of_another_size_or_label_is_refused(client, content, found):
    image = upload(client, picture("red", "blue"))
    client.post(f"/api/images/{image['id']}/answer", json=WORDS)
    refused = client.put(f"/api/images/{image['id']}/labels", content=content)
    assert (refused.status_code, problem(refused)) == (422, found)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_format_is_downloaded_with_images_of_one_name_apart(client, name):
    images = [upload(client, picture("red", "blue"), "a.png") for _ in range(2)]
    for image in images:
        client.post(f"/api/images/{image['id']}/answer", json=WORDS)
    answer = client.post("/api/download", json={"images": [each["id"] for each in images], "format": name})
    assert answer.status_code == 200, answer.text
    shown = answer.headers["content-disposition"]
    if ".zip" in shown:
        names = zipfile.ZipFile(io.BytesIO(answer.content)).namelist()
        assert len(names) >= 2
        assert any("a (2)" in each for each in names)
    else:
        assert len(answer.content) > 100
        assert name == "table" or re.search(r"a \(2\)|\"image_id\": 2", answer.text)


def test_images_that_were_asked_different_words_are_not_one_file(client):
    one, two = upload(client, picture("red")), upload(client, picture("blue"))
    client.post(f"/api/images/{one['id']}/answer", json=WORDS)
    wanted = {"images": [one["id"], two["id"]], "format": "coco"}
    refused = client.post("/api/download", json=wanted)
    assert (refused.status_code, problem(refused)) == (409, "an image that was asked nothing yet")
    client.post(f"/api/images/{two['id']}/answer", json={"words": "blue"})
    refused = client.post("/api/download", json=wanted)
    assert (refused.status_code, problem(refused)) == (409, "images that were asked different words")


def test_one_request_for_programs_keeps_nothing(client):
    answer = client.post("/api/segment", params={"words": "red, blue"}, content=picture("red", "blue")).json()
    assert [each["name"] for each in answer["classes"]] == ["red", "blue"]
    assert answer["masks"][0]["segmentation"]["size"] == [32, 64]
    assert client.get("/api/state").json()["images"] == 0


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 900 million pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    parts = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10)), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + parts


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HOSTILE = {
    "nothing": (b"", 422),
    "text": (b"hello", 422),
    "a page": (b"<html><script>alert(1)</script>", 422),
    "svg": (SVG, 422),
    "postscript": (b"%!PS\n(x) run\n", 422),
    "a zip": (b"PK\x03\x04" + b"\0" * 40, 422),
    "a cut file": (picture("red", "blue")[:60], 422),
    "a decompression bomb": (bomb(), (413, 422)),
    "too many pixels": (picture("red", side=1100), 413),
    "too many bytes": (b"\x89PNG" + b"\0" * (2**21), 413),
    "zeros": (b"\0" * 1000, 422),
    "half a JPEG": (picture("red", kind="JPEG")[:200], 422),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("address", ["/api/images?name=a.png", "/api/segment?words=red"])
def test_hostile_uploads_are_refused_with_a_reason_and_leave_nothing(client, kind, address):
    content, status = HOSTILE[kind]
    refused = client.post(address, content=content)
    assert refused.status_code in (status if isinstance(status, tuple) else (status,)), refused.text
    assert problem(refused)
    assert client.get("/api/state").json()["images"] == 0
    assert client.post("/api/segment?words=red", content=picture("red")).status_code == 200


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "C:\\a\\b.png", "<img src=x>.png", "\0\n.png", "", ".", "x" * 900]
)
def test_names_of_files_are_made_safe(client, name):
    shown = upload(client, picture("red"), name)["name"]
    assert shown == safe_name(name)
    assert shown
    assert len(shown) < 100
    assert not set(shown) & set('/\\<>"\0\n:')
    assert not shown.startswith(".")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "localhost.evil.example:8377"}, 400),
        ({"host": ""}, 400),
        ({"host": "[::1"}, 400),
        ({"host": "127.0.0.1:8377"}, 404),
        ({"host": "[::1]:8377"}, 404),
        ({"host": "PHOTOS.example"}, 404),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost"}, 404),
    ],
)
def test_other_hosts_and_pages_of_other_sites_are_refused(client, headers, status):
    answer = client.delete(f"/api/images/{'a' * 32}", headers=headers)
    assert answer.status_code == status
    assert problem(answer)


JSON = {"content-type": "application/json"}
BAD_REQUESTS = [
    ("post", "/api/images/{id}/answer", {"json": {"words": ""}}, 422),
    ("post", "/api/images/{id}/answer", {"json": {"words": "red" * 100}}, 422),
    ("post", "/api/images/{id}/answer", {"json": {"words": 3}}, 422),
    ("post", "/api/images/{id}/answer", {"json": {"words": "red", "device": "cuda"}}, 422),
    ("post", "/api/images/{id}/answer", {"json": {"words": "mauve"}}, (200, 422)),
    ("post", "/api/images/{id}/answer", {"json": {"words": "red", "background": "threshold"}}, 422),
    ("post", "/api/images/{id}/answer", {"content": b"{", "headers": JSON}, 422),
    ("post", "/api/images/{id}/answer", {"content": b" " * (MAX_JSON_BYTES + 1), "headers": JSON}, 413),
    ("post", "/api/images/{id}/explanation", {"json": {"x": 1, "y": 1}}, 409),
    ("post", "/api/images/{id}/explanation", {"json": {"x": -1, "y": 1}}, 422),
    ("post", "/api/download", {"json": {"images": [], "format": "coco"}}, 422),
    ("post", "/api/download", {"json": {"images": ["{id}"], "format": "exe"}}, 422),
    ("get", "/api/images/../../etc/labels", {}, 404),
    ("get", "/api/images/short/labels", {}, 422),
    ("get", "/docs", {}, 404),
    ("put", "/api/state", {}, 405),
]  # fmt: skip


@pytest.mark.parametrize(("method", "address", "content", "status"), BAD_REQUESTS)
def test_bad_requests_are_refused_in_four_parts(client, method, address, content, status):
    image = upload(client, picture("red"))
    answer = getattr(client, method)(address.replace("{id}", image["id"]), **content)
    assert answer.status_code in (status if isinstance(status, tuple) else (status,)), answer.text
    if answer.status_code != 200:
        assert problem(answer)


def test_every_answer_forbids_scripts_of_others_and_every_address_of_the_page_is_here(client):
    for address in ("/", "/api", "/app.js", "/editor.js", "/api.js", "/style.css", "/icon.svg", "/nowhere"):
        answer = client.get(address)
        for name, value in HEADERS.items():
            assert value in answer.headers.get_list(name) or name == "Cache-Control"
        assert "://" not in answer.text.replace("http://www.w3.org", ""), address
    assert 'style="' not in client.get("/").text  # the policy would drop it


def test_the_document_says_every_status_and_no_more_addresses_than_there_are(client):
    document = client.get("/openapi.json").json()
    assert set(document["paths"]["/api/images/{image_id}/labels"]) == {"get", "put"}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert {"413", "422", "429", "503"} <= set(operation["responses"])
            assert operation["description"]
    json.dumps(document)


@pytest.mark.parametrize("requests", [120, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_many_at_once_stay_apart_within_the_memory(requests):
    app = build_app(
        ColourSegmenter(), Limits(max_upload_mb=1, memory_mb=1, max_waiting=64, max_waiting_each=8)
    )
    most, refused = [0], [0]

    async def visit(client: httpx2.AsyncClient, number: int, room: asyncio.Semaphore) -> None:
        colour = list(STRIPES)[number % 3]
        async with room:
            page = {"x-lexiseg-page": f"visitor-{number}"}

            async def call(method: str, address: str, **content: object) -> httpx2.Response:
                while True:
                    answer = await client.request(method, address, headers=page, **content)
                    most[0] = max(most[0], app.state.studio.images.num_bytes)
                    if answer.status_code not in (429, 503):
                        return answer
                    refused[0] += 1
                    assert int(answer.headers["retry-after"]) > 0
                    await asyncio.sleep(0.01)

            while True:
                sent = await call("POST", f"/api/images?name={number}.png", content=picture(colour))
                assert sent.status_code == 201
                asked = await call("POST", f"/api/images/{sent.json()['id']}/answer", json=WORDS)
                if asked.status_code == 404:  # it made room for others
                    continue
                assert sent.json()["name"] == f"{number}.png"
                best = max(asked.json()["classes"], key=lambda each: each["share"])
                assert (best["name"], best["share"]) == (colour, 1.0)
                return

    async def all_visits() -> None:
        room = asyncio.Semaphore(64)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await asyncio.gather(*(visit(client, number, room) for number in range(requests)))

    try:
        asyncio.run(all_visits())
    finally:
        app.state.queue.close()
    assert 0 < most[0] <= 2**20
    assert app.state.queue.num_waiting == 0
    assert len(app.state.studio.images) < requests, "some have made room for others"
