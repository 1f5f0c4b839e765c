"""Requests that nobody thought of: made by hypothesis always, and by schemathesis from the document where it is installed."""

import importlib.util
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="the server needs FastAPI (extra app)")
from starlette.testclient import TestClient

from lexiseg.app.limits import Limits
from lexiseg.app.web import build_app
from striped_pictures import picture
from toy_segmenter import ColourSegmenter

LIMITS = Limits(max_upload_mb=1, max_megapixels=1, memory_mb=4, body_seconds=5.0)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_NAMES = st.sampled_from(["words", "background", "threshold", "refine", "x", "y", "images", "format", "more"])
_SENSIBLE = st.sampled_from(["red, blue", "threshold", "none", 0.5, 3, ["a" * 32], "coco", "yolo"])
_QUESTIONS = st.dictionaries(_NAMES, _SENSIBLE | _VALUES, max_size=5)
_BODIES = _QUESTIONS.map(json.dumps) | _VALUES.map(json.dumps) | st.text(max_size=40)
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client():
    app = build_app(ColourSegmenter(), LIMITS)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def image_id(client) -> str:
    return client.post("/api/images", content=picture("red", "blue")).json()["id"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_request_breaks_the_server_and_every_status_is_in_the_document(client, image_id, data):
    document = client.get("/openapi.json").json()
    address = data.draw(st.sampled_from(sorted(document["paths"])))
    method = data.draw(st.sampled_from(sorted(document["paths"][address])))
    filled = address.replace("{image_id}", data.draw(st.sampled_from([image_id, "b" * 32, "../x", "%00"])))
    query = data.draw(
        st.dictionaries(_NAMES | st.sampled_from(["name", "revision"]), st.text(max_size=20), max_size=3)
    )
    if method == "delete":
        filled = filled.replace(image_id, "c" * 32)  # the others ask it
    body = data.draw(_BODIES | st.binary(max_size=60).map(lambda each: each.decode("latin-1")))
    content = body.encode("utf-8", "surrogatepass")
    answer = client.request(method, filled, params=query, content=content, headers=JSON)
    known = document["paths"][address][method]["responses"]
    assert answer.status_code != 500
    if "{image_id}" not in address or "/" not in filled.replace("/api/images/", ""):
        assert str(answer.status_code) in {*known, "404", "405"}
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"doing", "found", "expected", "fix"}


@pytest.mark.exhaustive
@pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None,
    reason="pip install schemathesis to fuzz by the document",
)
def test_the_document_is_kept_as_schemathesis_reads_it():
    import schemathesis
    from schemathesis.specs.openapi.checks import (
        positive_data_acceptance,  # no schema says what an image file is
    )

    app = build_app(ColourSegmenter(), LIMITS, ["testserver"])
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    for each in schema.get_all_operations():
        operation = each.ok()

        @settings(max_examples=40, deadline=None)
        @given(case=operation.as_strategy())
        def keeps(case):
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        keeps()
    app.state.queue.close()
