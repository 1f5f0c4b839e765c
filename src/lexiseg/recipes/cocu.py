"""cocu: GroupViT trained on captions whose words were curated (``lexiseg curate``).

The network, the losses and inference are GroupViT's; only the words that images are asked for are others.
``scenes`` curates synthetic scenes in memory; measured in benchmarks/accuracy/cocu.md.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn.functional import normalize

from lexiseg.core.batch import Sample
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import Trainable
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.captions.word_prompts import MakeTexts, WordListTagger, WordPrompts
from lexiseg.data.curation.scene_archives import SceneConcepts, SceneCuration, draw_scene_set
from lexiseg.data.scenes import SceneDataset, SceneSettings
from lexiseg.data.scenes.repeated import repeated_scenes
from lexiseg.data.scenes.settings import curation_scenes
from lexiseg.data.scenes.world import world_of
from lexiseg.data.stepwise import TrainingData
from lexiseg.engine.settings import OptimSettings, RunSettings
from lexiseg.methods.groupvit.segmenter import GroupViT
from lexiseg.metrics.confusion import ConfusionMatrix
from lexiseg.metrics.iou import compute_scores
from lexiseg.recipes import groupvit
from lexiseg.recipes.groupvit import CaptionGroupViTRecipe, SceneGroupViTRecipe, class_words
from lexiseg.recipes.word_settings import CurationSettings
from lexiseg.scoring.evaluate import evaluate


def paper() -> CaptionGroupViTRecipe:
    """Train CoCu as its released code does: 30 epochs of CC3M, CC12M and YFCC14M, batch 1,024, curated first.

    Give ``--captions``, ``--tokenizer`` and ``--curation.folder``. Curate with 16 neighbours. Concepts are drawn from
    different clusters, as the paper says; the released code takes the best three (``--curation.sampling top``).
    """
    num_steps = 30 * (2_751_755 + 9_716_186 + 14_517_984) // 1024
    lr = 1.6e-3 * 1024 / 4096
    original = groupvit.paper()
    return replace(
        original,
        curation=CurationSettings(),
        optim=replace(original.optim, lr=lr, warmup_start=1e-6 / lr, final_factor=1e-5 / lr),
        run=replace(original.run, num_steps=num_steps, batch_size=1024),
    )


def folder() -> CaptionGroupViTRecipe:
    """Train CoCu on your own images with captions, curated first: batches of 256, for one GPU.

    Give ``--captions`` and ``--curation.folder``; set ``--run.num-steps`` to some tens of epochs.
    """
    return replace(
        paper(),
        optim=OptimSettings(
            lr=1e-4, weight_decay=0.05, warmup_fraction=0.05, final_factor=0.05, clip_norm=5.0
        ),
        run=RunSettings(
            num_steps=20_000, batch_size=256, sub_batch_size=128, precision="bf16", num_workers=4
        ),
    )


def hidden_scenes() -> SceneSettings:
    """Return scenes of one or two of 8 things on 6 stuffs, whose captions name the largest thing and hardly any stuff.

    Easier to see than ``curation_scenes``: things have the colours of their class, so that a small network learns
    which word is which in a few hundred steps, and what is left to measure is which words it was asked for.
    """
    return replace(
        curation_scenes(),
        num_things=8,
        num_stuffs=6,
        mention_rate=0.9,
        stuff_mention_rate=0.05,
        things_per_scene=(1, 2),
        thing_size=(0.4, 0.6),
        random_colour_rate=0.0,
        colour_jitter=0.3,
        adjective_rate=0.0,
        closing_rate=0.0,
        caption_prefix="photo",
    )


@dataclass(frozen=True, kw_only=True)
class SceneCocuRecipe(SceneGroupViTRecipe):
    """Train on a set of synthetic scenes that is visited again and again, with curated words.

    Attributes:
        num_training_scenes: The set: what is curated, in memory, when the training begins.
        curation: How its words are curated; none asks for the words of captions, as GroupViT does.
    """

    data: SceneSettings = field(default_factory=hidden_scenes)
    num_training_scenes: int = 2000
    curation: SceneCuration | None = field(default_factory=SceneCuration)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(self, {"num_training_scenes": Range(least=1, most=10**6)}, method="CoCu on scenes")

    def build_data(self) -> TrainingData:
        """Draw the scenes, and curate them.

        Raises:
            InputError: Scenes are of another size than the network's images, or there are too few of them.
        """
        self.check_size()
        return repeated_scenes(
            self.data,
            seed=self.run.seed,
            num_scenes=self.num_training_scenes,
            batch_size=self.run.batch_size,
            word_prompts=self._word_prompts() if self.method.word_loss > 0 else None,
        )

    def _word_prompts(self) -> MakeTexts:
        if self.curation is None:
            tagger = WordListTagger(class_words())
            return WordPrompts(tagger=tagger, count=self.num_words, prompts=self.word_prompts)
        scenes = draw_scene_set(self.data, self.run.seed, self.num_training_scenes)
        return SceneConcepts(
            scenes, self.data, self.curation, count=self.num_words, prompts=self.word_prompts
        )

    def evaluate(self, model: Trainable) -> dict[str, float]:
        """Measure masks on further scenes, of things and of stuff apart, and maps of a word and its synonym.

        Returns:
            Fractions in [0, 1]: ``mean_iou``, ``things_mean_iou`` (captions name the largest), ``stuff_mean_iou``
            (captions hardly ever name it); ``one_class_mean_iou``, the floor: every pixel is the class that the whole
            image is most similar to; ``paraphrase``: mean correlation, in [-1, 1], of the maps of a visible
            class's name and of its synonym.
        """
        assert isinstance(model, GroupViT)
        dataset = SceneDataset(self.data, self.num_scenes)
        ious = np.asarray(evaluate(model, dataset).scores.iou)
        is_stuff = np.array([words.is_stuff for words in world_of(self.data).words])
        return {
            "mean_iou": float(np.nanmean(ious)),
            "things_mean_iou": float(np.nanmean(ious[~is_stuff])),
            "stuff_mean_iou": float(np.nanmean(ious[is_stuff])),
            "one_class_mean_iou": one_class_mean_iou(model, dataset),
            "paraphrase": paraphrase_correlation(model, dataset),
        }


@torch.no_grad()
def one_class_mean_iou(model: GroupViT, dataset: SceneDataset) -> float:
    """Measure masks where every pixel is of the class that the image as a whole is most similar to.

    Args:
        model: In evaluation mode.
        dataset: Scenes.

    Returns:
        Mean IoU, in [0, 1].
    """
    names = list(dataset.vocabulary.names)
    texts = model.embed_texts(names, "single")
    confusion = ConfusionMatrix(len(names))
    for sample in dataset:
        assert sample.label_map is not None
        whole = _encode(model, sample).global_token
        assert whole is not None
        best = int((whole @ texts.T).argmax())
        confusion.update(sample.label_map, np.full_like(sample.label_map, best))
    return float(np.nanmean(np.asarray(compute_scores(confusion).iou)))


def _encode(model: GroupViT, sample: Sample) -> PatchFeatures:
    image = torch.from_numpy(sample.image).permute(2, 0, 1)[None].float() / 255
    return model.encode_images(image.to(model.logit_scale.device))


@torch.no_grad()
def paraphrase_correlation(model: GroupViT, dataset: SceneDataset) -> float:
    """Compare the maps of a class's name and of its first synonym, where the class is visible.

    Args:
        model: In evaluation mode.
        dataset: Scenes of classes with synonyms.

    Returns:
        Mean over scenes and classes of the correlation, over patches, of the cosines of both words; scenes whose
        patches are all in one segment are left out.
    """
    names = [forms[:2] for forms in dataset.vocabulary.all_names()]
    texts = normalize(model.embed_texts([name for pair in names for name in pair], "single"), dim=-1)
    found = []
    for sample in dataset:
        tokens = normalize(_encode(model, sample).tokens[0].float(), dim=-1)
        for label in sorted(sample.tags or ()):
            pair = (tokens @ texts[2 * label : 2 * label + 2].T).T
            if bool((pair.std(dim=1) > 1e-6).all()):
                found.append(float(torch.corrcoef(pair)[0, 1]))
    return float(np.mean(found)) if found else 0.0


def scenes() -> SceneCocuRecipe:
    """Train a small GroupViT on synthetic scenes whose captions hide stuff, with curated words: minutes on a CPU."""
    small = groupvit.scenes()
    shape = replace(
        small.shape,
        width=32,
        num_heads=1,
        depths=(1, 0),
        feed_forward=64,
        channel_ratio=2.0,
        text_width=32,
        text_depth=1,
        text_heads=1,
        text_feed_forward=64,
        projection_hidden=128,
        embedding_dim=64,
        content_start=True,
    )
    return SceneCocuRecipe(
        shape=shape,
        method=small.method,
        test_side=small.test_side,
        num_scenes=100,
        # At 5e-3 with scales from 30 on the text encoder gave all words one vector with some seeds.
        optim=replace(small.optim, lr=2e-3),
        run=RunSettings(num_steps=600, batch_size=32),
    )


def tiny() -> SceneCocuRecipe:
    """Train a tiny GroupViT on a few curated scenes for some seconds: shows that everything runs."""
    small = groupvit.tiny()
    return replace(scenes(), shape=small.shape, num_training_scenes=64, num_scenes=16, run=small.run)
