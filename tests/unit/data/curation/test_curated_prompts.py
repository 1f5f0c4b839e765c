"""P9 of CoCu: the texts of a visit, from archives of any size; and the data that training takes them from."""

import pickle

import numpy as np
import pytest

from curation_toys import curate, write_images, write_words
from lexiseg.core.errors import DatasetError
from lexiseg.data.captions.opening import open_captions
from lexiseg.data.curation.curated_prompts import CuratedPrompts
from lexiseg.ops.prompts import fill, find_prompt_set

TEMPLATES = find_prompt_set("imagenet80")


@pytest.fixture
def data(tmp_path):
    return write_images(tmp_path / "data", 14)


@pytest.fixture
def curated(tmp_path, data):
    return curate(data, tmp_path / "curated", write_words(tmp_path / "words"), neighbours=3)


@pytest.mark.parametrize("sampling", ["top", "softmax", "cluster"])
def test_every_image_gets_three_sentences_of_its_own_concepts_and_the_caption_for_the_rest(curated, sampling):
    make = CuratedPrompts(curated.folder, sampling=sampling)
    sizes = set()
    for record in curated:
        texts = make(record.name, "the caption", np.random.default_rng(record.row))
        places = min(3, len(record.concepts))
        assert len(texts) == 3
        assert texts[places:] == ("the caption",) * (3 - places)
        for text in texts[:places]:
            assert any(text in fill(TEMPLATES, concept) for concept in record.concepts)
        if sampling == "top":
            for text, concept in zip(texts[:places], record.concepts, strict=False):
                assert concept in text
        sizes.add(places)
    assert len(sizes) > 1, "archives of several sizes"


def test_visits_differ_and_a_visit_repeats_in_any_process(curated):
    make = CuratedPrompts(curated.folder, sampling="softmax")
    again = pickle.loads(pickle.dumps(make))
    name = max(curated, key=lambda record: len(record.concepts)).name
    visits = [make(name, "c", np.random.default_rng(visit)) for visit in range(8)]
    assert len(set(visits)) > 3
    assert visits == [again(name, "c", np.random.default_rng(visit)) for visit in range(8)]
    assert repr(again) == repr(make)
    assert repr(make) != repr(CuratedPrompts(curated.folder, sampling="top"))


def test_batches_of_captions_find_their_curated_concepts(curated, data, tmp_path):
    make = CuratedPrompts(curated.folder, sampling="top")
    opened = open_captions(data, batch_size=7, size=16, word_prompts=make, invalid_log=tmp_path / "log")
    for batch in opened.batches(start_step=0, stop_step=2):
        for source, caption, texts in zip(batch.sources, batch.captions, batch.word_prompts, strict=True):
            record = curated.find(source)
            assert texts.count(caption) == 3 - min(3, len(record.concepts))
    assert opened.describe()["word_prompts"].startswith("curated concepts, top, ")


def test_an_image_that_was_not_curated_is_named(curated):
    with pytest.raises(
        DatasetError, match="curated concepts of images#999: found no such image among the 14"
    ) as caught:
        CuratedPrompts(curated.folder)("images#999", "c", np.random.default_rng(0))
    assert "lexiseg curate all CAPTIONS --out FOLDER" in str(caught.value)


def test_an_unfinished_curation_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="reading the stage cluster"):
        CuratedPrompts(tmp_path)
