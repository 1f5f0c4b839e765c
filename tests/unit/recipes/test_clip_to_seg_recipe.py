import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lexiseg.core.errors import DatasetError, InputError, MissingWeightsError, VocabularyError
from lexiseg.data.splits import load_split
from lexiseg.engine.optim import lr_factor
from lexiseg.methods.clip_to_seg.model import ClipToSeg
from lexiseg.methods.clip_to_seg.teacher import SegmenterTeacher, shorten
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores, harmonic_mean
from lexiseg.recipes.clip_to_seg import (
    ClipToSegRecipe,
    clothing,
    coco_stuff,
    context,
    folder,
    scenes,
    tiny,
    voc,
)
from lexiseg.recipes.dense_similarity import build_dense_similarity
from lexiseg.recipes.teachers import open_teacher, open_text_space
from lexiseg.runs.folder import load_run
from lexiseg.runs.gamma import open_run, sweep_gamma
from lexiseg.runs.train import train_recipe
from tiny_checkpoints import save_tiny_clip, save_tiny_siglip
from tiny_maskformers import save_tiny_classifier
from tiny_vision_checkpoints import save_tiny_dinov2

NAME = "clip-to-seg/tiny"
CLOTHING = Path(__file__).parents[3].parent / "shared" / "data" / "clothing"


def short(recipe: ClipToSegRecipe | None = None, *, num_steps: int = 2, **data) -> ClipToSegRecipe:
    recipe = recipe or tiny()
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, num_scenes=8, num_scored_scenes=2, **data),
        run=dataclasses.replace(recipe.run, num_steps=num_steps, batch_size=4, device="cpu"),
    )


def photographs(folder: Path, *, classes: bool = True, val: bool = False) -> Path:
    """Write four small photographs of noise, the first two with labels."""
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)).save(
            folder / f"images/{number}.png"
        )
    if classes:
        (folder / "classes.txt").write_text("cat\nsky\ndog\n")
        (folder / "seen.txt").write_text("cat\nsky\n")
        for number in range(2):
            Image.fromarray(rng.integers(0, 2, (40, 56), dtype=np.uint8)).save(
                folder / f"labels/{number}.png"
            )
    if val:
        (folder / "val.txt").write_text("1\n")
        (folder / "train.txt").write_text("0\n2\n3\n")
    return folder


def with_teacher(recipe: ClipToSegRecipe, name: Path | str, **settings) -> ClipToSegRecipe:
    return dataclasses.replace(
        recipe,
        backbone="tiny",
        teacher=dataclasses.replace(recipe.teacher, name=str(name), dimensions=None, **settings),
        method=dataclasses.replace(
            recipe.method, decoder_width=16, decoder_heads=2, windows=(2, 3), min_area=1.0
        ),
        student=dataclasses.replace(recipe.student, width=16),
        short_side=64,
        max_long_side=64,
    )


def test_published_settings():
    for recipe, steps, gamma, seen, unseen in (
        (voc(), 20_000, 0.0, 15, 5),
        (context(), 40_000, 0.0, 50, 10),
        (coco_stuff(), 80_000, 1.0, 156, 15),
    ):
        assert (recipe.run.num_steps, recipe.run.batch_size, recipe.method.gamma) == (steps, 16, gamma)
        assert (recipe.data.size, recipe.data.crop.size) == (512, 512)
        assert (recipe.method.bank, recipe.method.similarity, recipe.method.windows) == (24, 0.8, (3, 7))
        assert (recipe.method.temperature, recipe.method.beta) == (0.07, 2.0)
        assert recipe.teacher.name == "openai/clip-vit-base-patch16"
        vocabulary = recipe.data.vocabulary()
        assert (len(vocabulary.seen), len(vocabulary) - len(vocabulary.seen)) == (seen, unseen)
    assert voc().data.train_split == "trainaug"


def test_the_garbled_list_of_coco_stuff_is_mended():
    """U18: the supplement prints 13 names; two commas are lost."""
    split = load_split("zero-shot-coco-stuff")
    printed = (
        "cow, giraffe, suitcase, frisbee, skateboard carrot, scissors, cardboard, clouds, grass playingfield, "
        "river, road, tree, wall concrete"
    )
    mended = (
        printed.replace("skateboard carrot", "skateboard, carrot")
        .replace("grass playingfield", "grass, playingfield")
        .replace("wall concrete", "wall-concrete")
    )
    assert len(printed.split(", ")) == 13
    assert {split.names[label] for label in split.unseen} == set(mended.split(", "))
    assert len(split.seen) == 156
    assert not split.seen & split.unseen
    assert len(split.names) == 171


@pytest.mark.parametrize(
    ("step", "rate"), [(0, 6.0e-11), (750, 2.8875e-5), (1500, 5.55e-5), (10_000, 3.0e-5), (18_000, 6.0e-6)]
)
def test_the_learning_rate_is_the_toolboxs(step, rate):
    """U12."""
    optim = voc().optim
    assert optim.lr * lr_factor(optim, step, 20_000) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("seen", "unseen", "harmonic"),
    [(80.0, 20.0, 32.0), (60.0, 60.0, 60.0), (90.0, 60.0, 72.0), (0.0, 50.0, 0.0), (91.9, 77.8, 84.264)],
)
def test_harmonic_means(seen, unseen, harmonic):
    """U2."""
    assert harmonic_mean(seen, unseen) == pytest.approx(harmonic, abs=1e-3)
    assert harmonic_mean(unseen, seen) == harmonic_mean(seen, unseen)


def test_scores_of_one_matrix_by_hand():
    """U3."""
    confusion = ConfusionMatrix(3)
    truth = np.array([[0, 0, 0, 0, 1, 1, 2, 2, 65535, 65535]], np.uint16)
    confusion.update(truth, np.array([[0, 0, 0, 1, 1, 1, 2, 0, 2, 1]], np.uint16))
    scores = compute_scores(confusion, seen=frozenset({0, 1}))
    assert scores.iou.tolist() == pytest.approx([0.6, 2 / 3, 0.5])
    found = (scores.seen_mean_iou, scores.unseen_mean_iou, scores.harmonic_iou)
    assert found == pytest.approx((0.63333, 0.5, 0.55882), abs=1e-5)


def test_a_run_holds_a_plain_segmenter(tmp_path):
    trained = train_recipe(NAME, recipe=short(), out=tmp_path, quiet=True)
    assert isinstance(trained, ClipToSeg)
    assert trained.distillation is None
    assert not any(name.startswith("distillation.") for name in load_file(tmp_path / "model.safetensors"))
    assert any("distillation.bank" in name for name in load_file(_checkpoint(tmp_path)))
    (tmp_path / "model.safetensors").unlink()
    assert load_run(tmp_path).distillation is None  # from the checkpoint, which has the rest too
    label_map = trained.segment(np.zeros((30, 50, 3), np.uint8), "ring, zebra").label_map
    assert label_map.shape == (30, 50)
    described = json.loads((tmp_path / "model.json").read_text())
    assert "ring" not in described["seen"]


def _checkpoint(run: Path) -> Path:
    return next((run / "checkpoints").glob("*/model.safetensors"))


def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    recipe = short(num_steps=4)
    train_recipe(NAME, recipe=recipe, out=whole, quiet=True)
    early = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, save_every=2))
    train_recipe(NAME, recipe=early, out=parts, quiet=True)
    for leftover in (parts / "model.safetensors", parts / "checkpoints/step-000004"):
        _remove(leftover)
    train_recipe(NAME, recipe=early, out=parts, resume=True, quiet=True)
    ours, theirs = (load_file(run / "model.safetensors") for run in (parts, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _remove(path: Path) -> None:
    if path.is_dir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.unlink()


def test_gammas_are_swept_on_one_encoding(tmp_path):
    train_recipe(NAME, recipe=short(), out=tmp_path, quiet=True)
    model, recipe = open_run(tmp_path)
    found = sweep_gamma(model, recipe.data.scored_images(), [-50.0, 0.0, 50.0])
    assert [scores.gamma for scores in found] == [-50, 0, 50]
    assert found[0].unseen == 0
    assert found[-1].seen == 0
    values = recipe.evaluate(model)
    assert found[1].harmonic == pytest.approx(values["harmonic_iou"])
    assert found[1].seen == pytest.approx(values["seen_mean_iou"])
    assert all(low <= high for low, high in found[1].intervals)
    assert model.method.gamma == 0


@pytest.mark.parametrize("save", [save_tiny_clip, save_tiny_siglip])
def test_checkpoints_teach_and_are_not_needed_to_load_a_student(tmp_path, save):
    teacher = save(tmp_path / "teacher")
    data = photographs(tmp_path / "data")
    recipe = with_teacher(short(folder(), path=data, size=64), teacher)
    trained = train_recipe("clip-to-seg/folder", recipe=recipe, out=tmp_path / "run", quiet=True)
    assert trained.seen == ("cat", "sky")
    trained.segment(data / "images/3.png", "cat, dog")
    teacher.rename(tmp_path / "gone")
    again = load_run(tmp_path / "run")
    with pytest.raises(MissingWeightsError, match="teacher"):
        again.segment(data / "images/3.png", "cat, dog")


def test_a_teacher_looks_again_at_regions_and_at_random_crops(tmp_path):
    teacher = save_tiny_clip(tmp_path / "teacher")
    data = photographs(tmp_path / "data")
    recipe = with_teacher(short(voc()), teacher)
    crop = dataclasses.replace(voc().data.crop, size=64, colour_jitter=False)
    source = dataclasses.replace(folder().data, path=data, crop=crop)
    recipe = dataclasses.replace(
        recipe, data=source, method=dataclasses.replace(recipe.method, local="reencoded", max_regions=2)
    )
    model = recipe.build_model().train()
    batch = next(iter(recipe.build_data().batches(start_step=0, stop_step=1)))
    losses = model(batch)
    losses.total().backward()
    assert losses.terms["local"] > 0


def test_a_teacher_remembers_whole_images(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path / "cache"))
    recipe = with_teacher(short(folder()), save_tiny_clip(tmp_path / "teacher"))
    looked = []
    for _ in range(2):
        teacher = open_teacher(recipe.teacher)
        assert isinstance(teacher, SegmenterTeacher)
        looked.append(teacher.look(torch.full((1, 3, 32, 32), 0.25)))
    assert teacher.encoder.num_found == 1
    assert torch.equal(looked[0].tokens, looked[1].tokens)
    assert looked[0].global_token is not None


def test_dense_features_texts_and_image_vectors_lie_in_one_space(tmp_path):
    folder_of_clip = save_tiny_clip(tmp_path)
    recipe = with_teacher(short(folder()), folder_of_clip)
    teacher = open_teacher(dataclasses.replace(recipe.teacher, remembers=False))
    texts = open_text_space(recipe.teacher, recipe.data.scenes)(["cat", "sky"], "single")
    features = teacher.look(torch.rand(1, 3, 32, 32))
    assert texts.shape[1] == features.tokens.shape[2] == features.global_token.shape[1] == teacher.width
    own = build_dense_similarity(str(folder_of_clip)).embed_texts(["cat", "sky"], "single")
    torch.testing.assert_close(texts, own)


def test_a_shorter_space_keeps_cosines_about():
    vectors = torch.randn(40, 1010, generator=torch.Generator().manual_seed(0))
    vectors[1] = vectors[0] + 0.5 * vectors[1]
    exact, short_ = (torch.corrcoef(each) for each in (vectors, shorten(vectors, 256)))
    assert (exact - short_).abs().mean() < 0.08
    assert torch.equal(shorten(vectors, 256), shorten(vectors, 256))
    assert shorten(vectors, None) is vectors


def test_photographs_without_any_label_or_name(tmp_path):
    data = photographs(tmp_path / "data", classes=False)
    recipe = with_teacher(
        short(folder(), path=data, size=64, masks="none"), save_tiny_clip(tmp_path / "teacher")
    )
    trained = train_recipe("clip-to-seg/folder", recipe=recipe, out=tmp_path / "run", quiet=True)
    assert trained.seen == ()
    assert recipe.evaluate(trained) == {}
    assert trained.segment(data / "images/0.png", "cat, sky").label_map.shape == (40, 56)


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        (voc(), InputError, r"--data\.path FOLDER"),
        (clothing(), InputError, r"--data\.path FOLDER"),
        (folder(), InputError, r"--data\.path FOLDER"),
        (
            dataclasses.replace(folder(), teacher=scenes().teacher, data=dataclasses.replace(folder().data)),
            InputError,
            "the teacher 'scenes' with data.dataset = folder",
        ),
        (
            dataclasses.replace(scenes(), method=dataclasses.replace(scenes().method, masks="oracle")),
            InputError,
            r"masks = oracle without the truth; expected data\.truth = True",
        ),
    ],
)
def test_what_does_not_fit_is_refused(recipe, error, message):
    with pytest.raises(error, match=message):
        recipe.build_data()


def test_a_label_map_with_an_unseen_class_is_refused_where_it_contradicts_the_lists(tmp_path):
    data = photographs(tmp_path)
    Image.fromarray(np.full((40, 56), 2, np.uint8)).save(data / "labels/0.png")
    recipe = short(folder(), path=data, size=64)
    batches = recipe.build_data().batches(start_step=0, stop_step=2)
    with pytest.raises(DatasetError, match=r"masks of 'dog', which seen\.txt does not list"):
        list(batches)


def test_the_masks_of_unseen_classes_of_labelled_data_become_void(tmp_path):
    data = photographs(tmp_path)
    Image.fromarray(np.full((40, 56), 2, np.uint8)).save(data / "labels/0.png")
    recipe = short(folder(), path=data, size=64, unseen_masks="hide")
    view = recipe.data.masked_labels(0)
    assert (view[0].label_map == 65535).all()
    assert view.names == ("cat", "sky")


@pytest.mark.parametrize(
    ("classes", "seen", "message"),
    [
        ("cat\nsky\nCat\n", "cat\n", "'Cat' as class 2, which is already class 0"),
        ("cat\nsky\ndog\n", "cat\nbird\n", r"the class 'bird' in seen\.txt, which is not in classes\.txt"),
        ("cat\nsky\ndog\n", "", "no division of the classes"),
    ],
)
def test_names_that_coincide_or_are_unknown_are_refused(tmp_path, classes, seen, message):
    data = photographs(tmp_path)
    (data / "classes.txt").write_text(classes)
    (data / "seen.txt").write_text(seen)
    with pytest.raises((DatasetError, VocabularyError), match=message):
        short(folder(), path=data, size=64).data.masked_labels(0)


def test_a_seen_class_is_the_same_however_it_is_spelt(tmp_path):
    data = photographs(tmp_path)
    (data / "seen.txt").write_text(" CAT \nSky\nsky\n")
    recipe = with_teacher(short(folder(), path=data, size=64), save_tiny_clip(tmp_path / "teacher"))
    assert recipe.data.masked_labels(0).names == ("cat", "sky")
    model = recipe.build_model()
    model.method = dataclasses.replace(model.method, gamma=1.0)
    assert model.embed_texts(["CAT", " s\u006by", "dog"], "single")[:, -1].tolist() == [-1, -1, 0]


def test_squares_that_the_coarsest_map_does_not_divide_are_refused(tmp_path):
    recipe = dataclasses.replace(short(size=72), backbone="tiny")
    with pytest.raises(InputError, match=r"squares of 72 pixels; expected a multiple of 32.*--data\.size 64"):
        recipe.build_model()


@pytest.mark.parametrize(
    ("freeze", "crop", "found"),
    [(False, None, "a backbone that is trained"), (True, voc().data.crop, "random crops")],
)
def test_maps_that_never_come_again_are_not_kept(freeze, crop, found):
    recipe = short(crop=crop and dataclasses.replace(crop, size=64))
    student = dataclasses.replace(recipe.student, freeze=freeze, remembers=True)
    with pytest.raises(InputError, match=f"student.remembers.*found {found}"):
        dataclasses.replace(recipe, student=student).build_model()


def test_a_frozen_student_looks_once_and_gives_what_it_gives_without_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEXISEG_CACHE", str(tmp_path))
    recipe = dataclasses.replace(
        short(size=112), backbone=str(save_tiny_dinov2(tmp_path / "dinov2", patch=14))
    )
    batch = next(iter(recipe.build_data().batches(start_step=0, stop_step=1)))
    found = []
    for remembers in (False, True, True):
        student = dataclasses.replace(recipe.student, freeze=True, remembers=remembers)
        torch.manual_seed(0)
        model = dataclasses.replace(recipe, student=student).build_model().train()
        assert not any(
            "backbone" in name for group in model.parameter_groups() for name, _ in group.parameters
        )
        found.append(model.student(batch.pixels()))
    torch.testing.assert_close(found[1], found[0], atol=2e-3, rtol=2e-2)
    assert torch.equal(found[1], found[2])
    kept = len(list((tmp_path / "features").rglob("*.safetensors")))
    assert 0 < kept <= 4
    model.eval().segment(np.zeros((40, 40, 3), np.uint8), "cat, ring")  # a finished model keeps nothing
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == kept


@pytest.mark.parametrize("kind", ["segformer", "resnet", "swin"])
def test_students_of_the_hub(tmp_path, kind):
    recipe = dataclasses.replace(short(), backbone=str(save_tiny_classifier(tmp_path, kind)))
    model = recipe.build_model().train()
    next_batch = next(iter(recipe.build_data().batches(start_step=0, stop_step=1)))
    model(next_batch).total().backward()
    again = recipe.rebuild_model(json.loads(json.dumps(recipe.describe_model(model))))
    assert set(again.state_dict()) == {
        name for name in model.state_dict() if not name.startswith("distillation.")
    }


def test_clothing_is_divided_as_for_simformer_and_its_tags_are_not_looked_at():
    if not CLOTHING.is_dir():
        pytest.skip("no photographs of Clothing Co-Parsing in ../shared/data/clothing")
    recipe = dataclasses.replace(clothing(), data=dataclasses.replace(clothing().data, path=CLOTHING))
    data = recipe.data.masked_labels(0)
    assert len(data) == 700
    assert not {"shoes", "dress", "jeans", "scarf", "vest"} & set(data.names)
    assert len(data.names) == 54
    assert data[699].tags is None
    assert len(recipe.data.scored_images()) == 100
