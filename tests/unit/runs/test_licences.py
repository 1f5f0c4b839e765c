"""Of what a model is made is said before it is loaded, whatever it is named by."""

import json

import pytest

from lexiseg.cli import main
from lexiseg.core.errors import InputError
from lexiseg.models.hub import KNOWN_WEIGHTS
from lexiseg.models.weight_facts import FACTS, LICENCES, NOT_STATED, strictness, terms_of
from lexiseg.runs.known_models import known_models
from lexiseg.runs.licences import _PARTS, list_parts, refuse_other_licences, strictest
from lexiseg.runs.load import MODEL_KINDS
from tiny_checkpoints import save_tiny_clip

CLIP = "openai/clip-vit-base-patch16"
#: Settings, and the names of the parts that they make.
PARTS = {
    (): [CLIP],
    (("head", "proxyclip"),): [CLIP, "facebook/dino-vitb16"],
    (("head", "trident"),): [CLIP, "facebook/dino-vitb16", "facebook/sam-vit-base"],
    (("head", "corrclip"), ("beside.vision", "none"), ("beside.proposer", "none")): [CLIP],
}


@pytest.mark.parametrize("changes", PARTS)
def test_parts_follow_from_the_settings(changes):
    assert [part.name for part in list_parts(CLIP, dict(changes))] == PARTS[changes]


@pytest.mark.parametrize("name", [model.name for model in known_models() if model.segments])
def test_the_licence_of_every_known_model_is_of_a_known_kind(name):
    parts = list_parts(name)
    assert all(part.licence in LICENCES and part.trained_on and part.source for part in parts)
    assert strictness(strictest(parts).licence) == max(strictness(part.licence) for part in parts)


def test_every_kind_of_model_has_parts_and_every_known_checkpoint_has_facts():
    assert set(_PARTS) == {kind.name for kind in MODEL_KINDS}
    assert set(KNOWN_WEIGHTS) <= set(FACTS)
    assert all(facts.licence in LICENCES for facts in FACTS.values())


def test_terms_go_from_few_conditions_to_many_and_what_is_unknown_is_strictest():
    order = ["permissive", "conditions", "non-commercial", "unknown"]
    places = [order.index(terms) for terms in LICENCES.values()]
    assert places == sorted(places)
    assert terms_of("apache-2.0") == "permissive"
    assert terms_of("a licence of its own") == "unknown"
    assert strictness("a licence of its own") >= strictness(NOT_STATED)


@pytest.mark.parametrize(
    ("name", "limit", "is_refused"),
    [
        ("mini", "permissive", False),
        (CLIP, "permissive", False),
        ("facebook/sam3", "permissive", True),
        ("facebook/sam3", "commercial", False),
        ("nvidia/groupvit-gcc-yfcc", "commercial", True),
        ("nvidia/groupvit-gcc-yfcc", "any", False),
    ],
)
def test_a_limit_refuses_what_is_beyond_it(name, limit, is_refused):
    parts = list_parts(name)
    if not is_refused:
        refuse_other_licences(name, parts, limit)
        return
    with pytest.raises(InputError, match=f"with --licence {limit}.*{name}"):
        refuse_other_licences(name, parts, limit)


@pytest.mark.parametrize("command", ["segment x.jpg --words cat --out OUT --model", "evaluate", "licences"])
def test_commands_refuse_before_they_load(tmp_path, capsys, command):
    (tmp_path / "x.jpg").touch()
    given = command.replace("OUT", str(tmp_path / "out")).split()
    more = ["--data", str(tmp_path)] if command == "evaluate" else []
    if command == "evaluate":
        for name in ("images", "labels"):
            (tmp_path / name).mkdir()
    with pytest.raises(SystemExit) as stopped:
        main([*given, "facebook/sam3", *more, "--licence", "permissive"])
    assert stopped.value.code == 2
    if command != "evaluate":
        assert "SAM Licence" in capsys.readouterr().err


def test_a_folder_says_what_its_card_says(tmp_path):
    folder = save_tiny_clip(tmp_path / "clip")
    assert strictest(list_parts(str(folder))).licence == NOT_STATED
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ndatasets: [coco]\n---\n# A model\n")
    with pytest.raises(SystemExit):
        main(["licences", str(folder), "--json", str(tmp_path / "l.json")])
    (part,) = json.loads((tmp_path / "l.json").read_text())["parts"]
    assert (part["terms"], part["trained_on"]) == ("non-commercial", "coco")
    (folder / "README.md").write_bytes(b"---\nlicense: [\xff")
    assert list_parts(str(folder))[0].licence == NOT_STATED
