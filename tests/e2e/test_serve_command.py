"""The server as a process, by a program and by a browser. What it answers is tested in tests/unit/app."""

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from lexiseg.cli import main
from striped_pictures import picture

pytest.importorskip("fastapi", reason="the server needs FastAPI (extra app)")

_MODEL = "from toy_segmenter import ColourSegmenter\n\n\ndef build():\n    return ColourSegmenter()\n"
_CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)


@pytest.fixture
def address(tmp_path):
    """A server with a model whose words are colours."""
    (tmp_path / "colour_model.py").write_text(_MODEL)
    fixtures = Path(__file__).parents[1] / "fixtures"
    paths = [str(tmp_path), str(fixtures), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-m", "lexiseg", "serve", "--model", "colour_model:build", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)},
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found, said + process.communicate()[1]
    yield found[0]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.exhaustive
def test_a_program_asks_and_ctrl_c_ends_it(address):
    answer = httpx2.post(f"{address}/api/segment?words=red,blue", content=picture("red", "blue"))
    assert [each["name"] for each in answer.json()["classes"]] == ["red", "blue"]
    assert httpx2.get(f"{address}/", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--port", "70000"), "--port 70000"),
        (("--port", "TAKEN"), "listening on 127.0.0.1, port"),
        (("--memory-mb", "0"), "memory_mb = 0"),
    ],
)
def test_what_cannot_be_served_is_said(options, found, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as stopped:
        main(["serve", *(each.replace("TAKEN", str(taken.getsockname()[1])) for each in options)])
    assert stopped.value.code == 2
    assert found in capsys.readouterr().err


@pytest.mark.exhaustive
@pytest.mark.skipif(
    importlib.util.find_spec("playwright") is None, reason="pip install playwright to click the page"
)
@pytest.mark.skipif(_CHROMIUM is None, reason="no Chromium on this machine to click the page")
def test_a_person_clicks_through_the_page(address, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(picture("red", "blue", side=200))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: troubles.append(line.text) if line.type == "error" else None)
        foreign = re.compile(rf"^(?!{re.escape(address)}|data:|blob:)")
        page.on(
            "request", lambda request: troubles.append(request.url) if foreign.match(request.url) else None
        )
        page.goto(address)
        page.set_input_files("#files", [tmp_path / "one.png", tmp_path / "two.png"])
        page.fill("#words", "red, green, blue")
        page.click("#go")
        expect(page.get_by_text("2 of 2 images are segmented")).to_be_visible()
        assert page.evaluate("() => document.documentElement.scrollWidth") == 390, (
            "nothing is wider than a phone"
        )
        box = page.locator("#overlay").bounding_box()
        page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
        expect(page.locator("#why")).to_contain_text("blue, ahead of")
        expect(page.locator("#tip")).to_contain_text("blue")
        page.click("#mode-brush")
        page.locator("#classes button", has_text="green").click()
        box = page.locator("#overlay").bounding_box()
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 90, box["y"] + 60, steps=4)
        page.mouse.up()
        expect(page.locator("#classes li", has_text="green")).not_to_contain_text("–")
        page.click("#undo")
        expect(page.locator("#classes li", has_text="green")).to_contain_text("–")
        page.select_option("#format", "coco")
        with page.expect_download() as loading:
            page.click("#download-all")
        assert "two" in Path(loading.value.path()).read_text()
        browser.close()
    assert not troubles
