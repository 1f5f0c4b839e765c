"""Legends show names in every script, or the class's number where no font has their letters."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from lexiseg.core import drawing, fonts
from lexiseg.core.drawing import class_colours, draw_overlay

SCRIPTS = {
    "Latin": "café Ångström ñ ß",
    "Greek": "γάτα",
    "Cyrillic": "кошка",
    "Chinese": "猫和草地",
    "Japanese": "犬小屋ねこ",
    "Korean": "고양이",
    "Arabic": "قطة صغيرة",
    "Devanagari": "बिल्ली",
    "Hebrew": "חתול",
    "Thai": "แมว",
    "mixed": "cat 猫 кот",
    "signs": "naïve – “x”…",
}


@pytest.fixture
def no_fonts(monkeypatch):
    fonts._face_of.cache_clear()
    drawing._warn_of_missing_fonts.cache_clear()
    monkeypatch.setattr(fonts, "packaged_faces", lambda: ())
    monkeypatch.setattr(fonts, "_system_faces", lambda letter: [])
    yield
    fonts._face_of.cache_clear()


@pytest.fixture
def packaged():
    if not any(face.path.suffix == ".ttc" for face in fonts.packaged_faces()):
        pytest.skip("the extra 'fonts' is not installed")


@pytest.mark.parametrize("name", SCRIPTS.values(), ids=SCRIPTS)
def test_every_letter_is_drawn_by_a_font_that_has_it(packaged, monkeypatch, name):
    monkeypatch.setattr(fonts, "_system_faces", lambda letter: [])
    runs = fonts.text_runs(name, 20)
    assert runs is not None
    assert "".join(piece for _, piece in runs) == name
    for font, piece in runs:
        unknown = font.getmask("\U0010fffe")
        for letter in piece:
            if letter.strip() and not fonts._is_neutral(letter):
                drawn = font.getmask(letter)
                assert (drawn.size, bytes(drawn)) != (unknown.size, bytes(unknown)), letter


def test_chinese_is_drawn_with_chinese_forms_and_at_regular_weight(packaged):
    index = {name: fonts._collection_index(SCRIPTS[name]) for name in ("Chinese", "Japanese", "Korean")}
    assert index == {"Chinese": 2, "Japanese": 0, "Korean": 1}
    ((font, _),) = fonts.text_runs("猫", 40)
    thin = ImageFont.truetype(font.path, 40, index=2)
    assert np.asarray(font.getmask("猫")).mean() > 1.3 * np.asarray(thin.getmask("猫")).mean()


def legend(name, share="  12.5%"):
    image, labels = np.full((60, 300, 3), 255, np.uint8), np.zeros((60, 300), np.uint16)
    return np.asarray(draw_overlay(image, labels, 3, [(2, name + share)], opacity=0.0))[60:]


def test_names_of_ascii_are_drawn_by_pillows_own_font():
    text = "traffic light  12.5%"
    expected = Image.new("RGB", (300, 40), "white")
    draw = ImageDraw.Draw(expected)
    draw.rectangle((5, 5, 16, 15), fill=tuple(class_colours(3)[2].tolist()))
    draw.text((5 + 11 + 2, 5 - 1), text, fill="black", font=ImageFont.load_default(size=11))
    sheet = legend("traffic light")
    assert (sheet == np.asarray(expected)[: len(sheet)]).all()


@pytest.mark.parametrize(("name", "shown"), [("猫", "2"), ("café", "2 cafe"), ("Ångström 猫", "2 Angstrom")])
def test_without_a_font_the_number_and_what_ascii_has_are_shown_and_said_once(no_fonts, name, shown):
    with pytest.warns(UserWarning, match=r"no font for some class names.*lexiseg\[fonts\]") as caught:
        sheets = [legend(name), legend(name)]
    assert len(caught) == 1
    for sheet in sheets:
        assert (sheet == legend(shown)).all()


def test_a_share_beside_a_name_from_right_to_left_stays_behind_it(packaged):
    runs = drawing._runs("قطة  12.5%", 20)
    assert [piece for _, piece in runs] == ["قطة", "  12.5%"]


def test_a_long_name_is_cut_with_a_sign_that_the_font_has(no_fonts):
    runs = drawing._shortened("a name that is much too long  12.5%", 12, 80)
    assert next(piece for _, piece in runs).endswith("...  12.5%")
