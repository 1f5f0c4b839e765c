import re
from pathlib import Path

import pytest

from lexiseg.core.errors import UnknownNameError
from lexiseg.ops.prompts import PROMPT_SETS, fill, find_prompt_set

COUNTS = {
    "bare": 1,
    "single": 1,
    "imagenet80": 80,
    "openai7": 7,
    "groupvit7": 7,
    "tcl9": 9,
    "maskclip85": 85,
    "vild14": 14,
    "vild63": 63,
}

SHARED = Path(__file__).parents[3].parent / "shared"
PUBLIC_TEMPLATES = SHARED / "data" / "clip-vocab-and-prompts" / "data" / "prompts.md"


def test_the_published_grammar_gives_80_distinct_sentences():
    sentences = fill(find_prompt_set("imagenet80"), "owl")
    assert len(sentences) == len(set(sentences)) == 80
    heads = [
        *("a bad photo", "a black and white photo", "a blurry photo", "a bright photo", "a close-up photo"),
        *(
            "a cropped photo",
            "a dark photo",
            "a doodle",
            "a drawing",
            "a good photo",
            "a jpeg corrupted photo",
        ),
        *("a low resolution photo", "a painting", "a photo", "a pixelated photo", "a rendering"),
        *("a rendition", "a sculpture", "a sketch", "a tattoo", "art", "graffiti", "itap"),
    ]
    adjectives = ("clean", "cool", "dirty", "hard to see", "large", "nice", "small", "weird")
    styles = ("cartoon {}.", "embroidered {}.", "origami {}.", "plastic {}.", "plushie {}.", "toy {}.")
    patterns = [
        *(f"{head} of {article} {{}}." for head in heads for article in ("a", "the")),
        *(f"a photo of {article} {adjective} {{}}." for adjective in adjectives for article in ("a", "the")),
        *(f"{article} {style}" for style in (*styles, "{} in a video game.") for article in ("a", "the")),
        *("a photo of many {}.", "a photo of my {}.", "a photo of one {}.", "itap of my {}."),
    ]
    assert set(sentences) == {pattern.format("owl") for pattern in patterns}


def test_every_set_has_the_published_number_of_templates():
    assert {name: len(prompt_set.templates) for name, prompt_set in PROMPT_SETS.items()} == COUNTS


@pytest.mark.parametrize("name", PROMPT_SETS)
def test_templates_are_unique_and_name_the_class_once(name):
    templates = PROMPT_SETS[name].templates
    assert len(set(templates)) == len(templates)
    assert all(template.count("{}") == 1 for template in templates)
    assert not any("ART" in template or "*" in template for template in templates)
    assert PROMPT_SETS[name].name == name


@pytest.mark.parametrize(
    ("set_name", "class_name", "sentence"),
    [
        ("bare", "cat", "cat"),
        ("single", "cat", "a photo of a cat."),
        ("imagenet80", "owl", "a origami owl."),
        ("imagenet80", "owl", "the embroidered owl."),
        ("imagenet80", "owl", "a photo of the hard to see owl."),
        ("imagenet80", "owl", "a close-up photo of the owl."),
        ("imagenet80", "owl", "graffiti of a owl."),
        ("imagenet80", "owl", "a rendition of the owl."),
        ("imagenet80", "owl", "the owl in a video game."),
        ("imagenet80", "owl", "itap of my owl."),
        ("openai7", "cat", "a bad photo of the cat."),
        ("groupvit7", "cat", "a bad photo of a cat."),
        ("tcl9", "cat", "a photo of cats."),
        ("maskclip85", "cat", "this is one cat in the scene."),
        ("vild14", "cat", "There is the cat in the scene"),
        ("vild14", "cat", "There is a medium cat in the scene."),
        ("vild63", "umbrella", "There is an umbrella in the scene."),
        ("vild63", "hourglass", "a jpeg corrupted photo of a hourglass."),
        ("vild63", "unicycle", "itap of an unicycle."),
        ("vild63", "owl", "a photo of a nice owl."),
        ("vild63", "owl", "an embroidered owl."),
        ("vild63", "owl", "a painting of a owl."),
    ],
)
def test_sentences_are_spelled_as_published(set_name, class_name, sentence):
    assert sentence in fill(PROMPT_SETS[set_name], class_name)


def test_the_two_sets_of_seven_differ_in_one_article():
    ours, theirs = set(PROMPT_SETS["openai7"].templates), set(PROMPT_SETS["groupvit7"].templates)
    assert ours - theirs == {"a bad photo of the {}."}
    assert theirs - ours == {"a bad photo of a {}."}
    assert ours < set(PROMPT_SETS["imagenet80"].templates) < set(PROMPT_SETS["maskclip85"].templates)
    assert theirs < set(PROMPT_SETS["tcl9"].templates)


def test_only_four_sentences_of_the_fourteen_lack_a_full_stop():
    assert [i for i, text in enumerate(PROMPT_SETS["vild14"].templates) if not text.endswith(".")] == [
        1,
        2,
        3,
        4,
    ]


def test_groupvit_and_tcl_average_raw_vectors_and_the_others_unit_vectors():
    raw = {name for name, prompt_set in PROMPT_SETS.items() if prompt_set.ensemble == "raw"}
    assert raw == {"groupvit7", "tcl9"}


def test_vild_rewrites_underscores_slashes_and_capitals_before_it_chooses_the_article():
    sentences = fill(PROMPT_SETS["vild63"], "Egg_cup/Saucer")
    assert sentences[0] == "There is an egg cup or saucer in the scene."
    assert fill(PROMPT_SETS["single"], "Egg_cup/Saucer") == ["a photo of a Egg_cup/Saucer."]


@pytest.mark.parametrize(
    "name", ["{}", "{article}", "{0}", "{", "a}b{c", 'say "hi"', "tv/monitor", "🐱 cat", "%s", "\\1"]
)
@pytest.mark.parametrize("set_name", PROMPT_SETS)
def test_names_are_inserted_verbatim(set_name, name):
    prompt_set = PROMPT_SETS[set_name]
    inserted = name.replace("/", " or ") if set_name == "vild63" else name
    for template, sentence in zip(prompt_set.templates, fill(prompt_set, name), strict=True):
        before, after = template.split("{}")
        assert (
            sentence == before.replace("{article}", "an" if name.startswith("a}") else "a") + inserted + after
        )


def test_an_unknown_set_is_refused_with_the_nearest_and_all_names():
    with pytest.raises(UnknownNameError) as caught:
        find_prompt_set("imagenet8")
    message = str(caught.value)
    assert message.startswith("looking up the prompt set 'imagenet8': found no prompt set of that name")
    assert "Nearest: imagenet80" in message
    assert all(name in message for name in PROMPT_SETS)


def test_the_eighty_contain_the_published_list_for_caltech_images():
    if not PUBLIC_TEMPLATES.exists():
        pytest.skip(f"{PUBLIC_TEMPLATES} is absent: the public template lists were not compared")
    text = PUBLIC_TEMPLATES.read_text(encoding="utf-8")
    section = re.search(r"## Caltech101\n.*?templates = \[\n(.*?)\n\]", text, flags=re.DOTALL)
    assert section is not None
    published = set(re.findall(r"^\s*'(.*)',$", section[1], flags=re.MULTILINE))
    assert len(published) == 34
    assert published < set(PROMPT_SETS["imagenet80"].templates)
