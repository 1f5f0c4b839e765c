from pathlib import Path

import numpy as np
import pytest
import torch

from lexiseg.core.batch import Sample
from lexiseg.core.errors import DatasetError, InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.metrics.retrieval import retrieval_recall
from lexiseg.scoring.image_text import as_image_text_model, embed_images, embed_pairs
from toy_segmenter import ColourSegmenter

COLOURS = {"red": 0, "green": 1, "blue": 2}


class ColourPairs(torch.nn.Module):
    """Images are their mean colour, sentences the colours they name."""

    image_side = 8

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def encode_images(self, images):
        self.calls.append(len(images))
        vectors = torch.nn.functional.normalize(images.mean((2, 3)), dim=-1)
        return PatchFeatures(tokens=vectors[:, None], grid=(1, 1), stride=8, global_token=vectors)

    def embed_sentences(self, sentences):
        rows = torch.zeros(len(sentences), 3)
        for row, sentence in zip(rows, sentences, strict=True):
            for word, channel in COLOURS.items():
                row[channel] += float(word in sentence)
        return torch.nn.functional.normalize(rows, dim=-1)


def sample(colour: str, *captions: str) -> Sample:
    image = np.zeros((5, 9, 3), np.uint8)
    image[..., COLOURS[colour]] = 255
    return Sample(image=image, source=Path(f"{colour}.png"), captions=captions)


def test_every_caption_points_at_its_image_and_is_found():
    samples = [sample("red", "a red thing", "red again"), sample("green", "green"), sample("blue", "so blue")]
    pairs = embed_pairs(ColourPairs(), samples)
    assert pairs.image_of_text.tolist() == [0, 0, 1, 2]
    similarity = (pairs.images @ pairs.texts.T).numpy()
    found = retrieval_recall(similarity, pairs.image_of_text.numpy())
    assert found.image_to_text[1] == found.text_to_image[1] == 1.0


def test_images_are_encoded_a_few_at_a_time_and_in_order():
    model = ColourPairs()
    colours = [list(COLOURS)[index % 3] for index in range(130)]
    vectors = embed_images(model, (sample(colour) for colour in colours))
    assert model.calls == [64, 64, 2]
    assert vectors.argmax(1).tolist() == [COLOURS[colour] for colour in colours]


@pytest.mark.parametrize(
    ("samples", "message"),
    [([], "found no image at all"), ([sample("red")], r"found red\.png without a caption")],
)
def test_nothing_to_compare_is_refused(samples, message):
    with pytest.raises(DatasetError, match=message):
        embed_pairs(ColourPairs(), samples)


def test_a_model_without_sentences_is_refused_with_what_to_do():
    model = ColourPairs()
    assert as_image_text_model(model) is model
    with pytest.raises(InputError, match=r"sentences by colours: found a model without .* lexiseg train"):
        as_image_text_model(ColourSegmenter())
