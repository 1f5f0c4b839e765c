"""No command scores images that the model was trained on without saying so: one row a command."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from caption_files import write_folder, write_shards
from lexiseg.cli import COMMANDS, main
from lexiseg.core.vocabulary import Vocabulary
from lexiseg.data.captions.opening import open_captions
from lexiseg.data.folder import FolderDataset
from lexiseg.data.partial_labels.masked_labels import MaskedLabels
from lexiseg.data.partial_labels.pseudo_masks import PseudoMaskedDataset, WithPseudoMasks
from lexiseg.data.partial_labels.seen_only import SeenOnly
from lexiseg.data.subset import Subset
from lexiseg.data.trained_on import TrainedOn, content_fingerprint, write_trained_on
from lexiseg.data.unlabelled_images import UnlabelledImages
from lexiseg.runs.load import MODELS
from lexiseg.scoring.evaluate import evaluate
from toy_segmenter import ColourSegmenter, registered

TRAINED, NEW = ("a", "b"), ("c",)
#: Commands that score a model, or what it predicted, with the arguments that follow the model.
SCORING = {
    "evaluate": ["evaluate", "colours", "--data", "data"],
    "predict": ["predict", "colours", "--data", "data", "--out", "store"],
    "score": ["score", "store"],
    "calibrate": ["calibrate", "store"],
    "classify": ["classify", "colours", "--images", "classes"],
    "retrieve": ["retrieve", "colours", "--captions", "data"],
    "gamma": ["gamma", "run", "--data", "data"],
}
#: These train, and score by lists without overlap.
OTHERS = {"ablate", "distil", "train", "retrain"}
#: Commands that refuse where nobody chose the images.
REFUSING = ("evaluate", "retrieve", "gamma")


class WholeImages(ColourSegmenter):
    """The toy as a model of whole images too."""

    image_side = 8

    def encode_images(self, images):
        features = super().encode_images(images)
        return type(features)(
            tokens=features.tokens, grid=features.grid, stride=4, global_token=features.tokens.mean(1)
        )

    def embed_sentences(self, sentences):
        return self.embed_texts(sentences, "single")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/images", "data/labels", "classes/red", "classes/blue"):
        (tmp_path / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem in (*TRAINED, *NEW):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/images/{stem}.png")
        Image.fromarray(rng.integers(0, 2, (16, 16), dtype=np.uint8)).save(
            tmp_path / f"data/labels/{stem}.png"
        )
    shutil.copy(tmp_path / "data/images/a.png", tmp_path / "classes/red/copy.png")
    shutil.copy(tmp_path / "data/images/c.png", tmp_path / "classes/blue/c.png")
    (tmp_path / "data/classes.txt").write_text("background\nred\n")
    (tmp_path / "data/seen.txt").write_text("red\n")
    (tmp_path / "data/train.txt").write_text("\n".join(TRAINED))
    (tmp_path / "data/captions.tsv").write_text("a\tred\nb\tblue\nc\tgreen\n")
    write_trained_on(tmp_path / "t.tsv", [tmp_path / f"data/images/{stem}.png" for stem in TRAINED])

    def build():
        model = WholeImages()
        model.trained_on = TrainedOn.read(tmp_path / "t.tsv")
        return model

    monkeypatch.setitem(MODELS, "colours", registered(build))
    # A run of CLIP-to-Seg that has seen the same images; it is refused before it scores.
    monkeypatch.setattr("lexiseg.runs.gamma.open_run", lambda folder, trust: (build(), None))
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def make_store(split: str) -> None:
    asked = ("--split", split, "--background", "threshold", "--threshold", "-9")
    assert run("predict", "colours", "--data", "data", "--out", "store", *asked) == 0


@pytest.mark.parametrize("command", SCORING)
def test_every_command_that_scores_says_what_was_trained_on(here, capsys, command):
    if command in ("score", "calibrate"):
        make_store("train")
        capsys.readouterr()
    code = run(*SCORING[command])
    printed = capsys.readouterr()
    said = " ".join((printed.out + printed.err).split())
    assert "trained on" in said
    assert code == (2 if command in REFUSING else 0), said


def test_every_command_is_in_the_table_or_scores_nothing():
    scoring = {
        name for name, (_, line) in COMMANDS.items() if "core" in line.casefold() or "threshold" in line
    }
    assert scoring - OTHERS - {"protocols"} <= set(SCORING), "a command that scores is in no table"


def test_val_is_scored_where_there_is_a_list_and_all_is_asked_for_by_name(here, capsys):
    (here / "data/val.txt").write_text("c\n")
    assert run("evaluate", "colours", "--data", "data", "--json", "r.json") == 0
    assert "note: scoring the images of val.txt" in capsys.readouterr().err
    report = json.loads((here / "r.json").read_text())
    assert (report["num_images"], report["split"], report["num_trained_on"]) == (1, "val", 0)
    assert run("evaluate", "colours", "--data", "data", "--split", "all", "--json", "r.json") == 0
    assert capsys.readouterr().err.count("2 of 3 images are ones that this model was trained on (a, b)") == 1
    assert json.loads((here / "r.json").read_text())["num_trained_on"] == 2


def test_evaluate_in_python_takes_val_and_warns(here):
    model = MODELS["colours"].build("", None)
    with pytest.warns(UserWarning, match="2 of 3 images are ones that this model was trained on"):
        evaluate(model, "data")
    (here / "data/val.txt").write_text("c\n")
    assert evaluate(model, "data").num_images == 1


def test_a_copy_under_another_name_is_found_and_another_image_of_the_name_is_not(here):
    known = TrainedOn.read(here / "t.tsv")
    other = here / "other" / "a.png"
    other.parent.mkdir()
    shutil.copy(here / "data/images/c.png", other)
    assert known.among([here / "classes/red/copy.png", other, None, here / "gone.png"]) == [0]
    large = here / "large"
    large.write_bytes(bytes(300_000))
    before = content_fingerprint(large)
    large.write_bytes(bytes(299_999) + b"1")
    assert content_fingerprint(large) != before


def test_images_of_the_same_names_that_were_saved_again_are_pointed_out(here, capsys):
    for stem in TRAINED:
        path = here / f"data/images/{stem}.png"
        Image.fromarray(np.asarray(Image.open(path))).save(path, compress_level=1)
    assert run("evaluate", "colours", "--data", "data") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "2 of 3 images are called like ones that this model was trained on (a, b), with other content" in said
    )
    known = TrainedOn.read(here / "t.tsv")
    assert known.alike_by_name([here / "classes/red/copy.png", here / "data/images/c.png"]) == []


def test_all_data_that_training_reads_from_files_lists_them(here):
    folder = FolderDataset("data")
    words = Vocabulary(names=("background", "red"), seen=frozenset({1}))
    masked = MaskedLabels(Subset(folder, vocabulary=words))
    views = [folder, UnlabelledImages(here / "data"), masked, SeenOnly(Subset(folder, vocabulary=words))]
    views += [PseudoMaskedDataset(masked, here / "none"), WithPseudoMasks(folder, here / "none")]
    for view in views:
        assert [path.stem for path in view.files()] == ["a", "b", "c"], type(view)
    for made in (write_folder(here / "captions", count=4), write_shards(here / "shards", (3,))):
        files = open_captions(made, batch_size=2, size=8, invalid_log=here / "log").files()
        assert files
        assert all(path.is_file() for path in files)
