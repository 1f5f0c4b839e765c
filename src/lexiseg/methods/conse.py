"""ConSE: read an image as a mixture of ImageNet's thousand names, and compare names with words.

The idea is Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", ICLR
2014: a classifier's posterior over names it knows, weighted with the similarity of those names to a
word it does not know, scores the word. Nothing is trained to join the two. In numbers,

    score(word, patch) = sum over names of  posterior(name | patch) * match(name, word)

so a patch is its posterior, a class embedding is its row of matches, and the score is their product.

Differences from the paper:

* Per patch instead of per image. A patch's logits are the mean over two input sizes, plus
  ``image_weight`` times the image's mean logits: what is in the image helps to read its parts.
* All names, not the top ten, and ``match`` is zero below ``min_similarity``: a thousand faint
  resemblances together outweigh one real match otherwise ("bird" is a little like everything).
* A name matches a word by its own text or by its kind, whichever is nearer: nothing in "Egyptian
  Mau" says that it is a cat. Kinds are written by hand in ``data.class_lists``.
* Two priors, stated because they are not learnt. Where the classifier is in doubt even about the
  kind, colour, texture and height vote for nine sorts of stuff (``ops.scene_prior``). Names whose
  photographs usually show a person wearing or using the thing also count for "person".

The plain recipe (top ten names, every similarity, no kinds, no priors, one size) is ``PLAIN``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lexiseg.core.errors import InputError
from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.ops.scene_prior import SCENE_NAMES, appearance, scene_prior
from lexiseg.ops.similarity import similarity_map

#: Words compared at a time: memory beside the result does not grow with the vocabulary.
WORDS_PER_BLOCK = 1024

_RANGES = {
    "sizes": Range(least=0, above=True),
    "image_weight": Range(least=0),
    "temperature": Range(least=0, above=True),
    "num_names": Range(least=1),
    "min_similarity": Range(least=-1, most=0.99),
    "min_scene_similarity": Range(least=-1, most=0.99),
    "scene_weight": Range(least=0, most=1),
    "person_weight": Range(least=0),
    "stride": Range(least=1),
}

#: Side of images that are embedded whole: what the published classifiers were trained with.
_WHOLE_SIDE = 224

_PERSON = "person"
_BACKGROUND = "background"


@dataclass(frozen=True, kw_only=True)
class ConSESettings:
    """How images are read and words are matched.

    Attributes:
        sizes: The image is read at these multiples of its given size; logits are averaged.
        image_weight: Weight of the image's mean logits beside a patch's own (1).
        temperature: Divides the summed logits before the softmax.
        num_names: The most probable names a patch keeps, renormalised; 1000 keeps all.
        use_kinds: Compare words with the kinds of names too ("cat" for "Egyptian Mau").
        min_similarity: A name matches a word from this cosine on; 1 is a full match.
        min_scene_similarity: Smallest cosine at which the names of stuff and "person" match a word.
        scene_weight: Share of the classifier's doubt that colour, texture and height may fill, 0..1.
        person_weight: Weight of names that are shown with people, for words like "person".
        stride: Pixels per patch of the grid; the network's own grid is interpolated to it.
    """

    sizes: tuple[float, ...] = (1.0, 9 / 14)
    image_weight: float = 1.5
    temperature: float = 1.5
    num_names: int = 1000
    use_kinds: bool = True
    min_similarity: float = 0.4
    min_scene_similarity: float = 0.6
    scene_weight: float = 1.0
    person_weight: float = 1.0
    stride: int = 16

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="ConSE")
        if not self.sizes:
            raise InputError(
                doing="reading the settings of ConSE",
                found="no sizes",
                expected="one multiple of the image's size, or more",
                fix="Give sizes=1.0, or leave it out.",
            )


#: The recipe without any of our additions, as the measure of what they bring.
PLAIN = ConSESettings(
    sizes=(1.0,),
    image_weight=1.0,
    temperature=1.0,
    num_names=10,
    use_kinds=False,
    min_similarity=-1.0,
    scene_weight=0.0,
    person_weight=0.0,
    stride=32,
)


class ConSE(Segmenter):
    """Score words by the ImageNet names a patch resembles. Scores lie in [0, 2], mostly below 1.

    Args:
        image_encoder: Its tokens are logits of the classes of ``data.class_lists``.
        text_encoder: Gives the embeddings in which names and words are compared.
        name: What the model was asked for by.
        settings: Inference defaults.
        method: How images are read and words are matched.
        fingerprints: Content hashes of the weights, for the record.
        notice: What a person must know before trusting results.
    """

    shown_with_people: Tensor
    kind_of_name: Tensor

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        *,
        name: str,
        settings: InferenceSettings,
        method: ConSESettings,
        fingerprints: Mapping[str, str],
        notice: str | None = None,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.name = name
        self.settings = settings
        self.method = method
        self.notice = notice
        self.method_settings = {**asdict(method), **fingerprints}
        classes = imagenet_classes()
        with_people = torch.tensor([float(known.shown_with_people) for known in classes])
        self.register_buffer("shown_with_people", with_people, persistent=False)
        # A class without a kind is a kind of its own.
        self.kinds = tuple(dict.fromkeys(known.kind or known.name for known in classes))
        kind_of_name = torch.tensor([self.kinds.index(known.kind or known.name) for known in classes])
        self.register_buffer("kind_of_name", kind_of_name, persistent=False)

    @property
    def stride(self) -> int:
        """Pixels per patch of the grid of ``encode_images``."""
        return self.method.stride

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] whose sides are multiples of ``stride``.

        With sliding windows, "height in the image" is height in the window.

        Returns:
            Tokens ``B N 1010``: the posterior over the thousand names, evidence for each of
            ``SCENE_NAMES``, evidence for a person. All are in [0, 1] but the last, which
            ``person_weight`` scales. The global token is their mean, made unit length.
        """
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        read = [self._read(images, size, grid) for size in self.method.sizes]
        patch_logits = torch.stack([patches for patches, _ in read]).mean(0)
        image_logits = torch.stack([image for _, image in read]).mean(0)
        logits = patch_logits + self.method.image_weight * image_logits[:, None]
        posterior = (logits / self.method.temperature).softmax(dim=-1)

        kinds = posterior.new_zeros(*posterior.shape[:2], len(self.kinds))
        certainty = kinds.index_add(-1, self.kind_of_name, posterior).amax(dim=-1, keepdim=True)
        for_scene = self.method.scene_weight * (1 - certainty)
        scene = for_scene * scene_prior(appearance(images, self.stride))
        person = self.method.person_weight * (posterior @ self.shown_with_people)[..., None]
        names = (1 - for_scene) * _keep_most_probable(posterior, self.method.num_names)
        tokens = torch.cat([names, scene, person], dim=-1)
        whole = normalize(tokens.mean(dim=1), dim=-1)
        return PatchFeatures(tokens=tokens, grid=grid, stride=self.stride, global_token=whole)

    @property
    def image_side(self) -> int:
        """Side of the square images that are embedded whole."""
        return _WHOLE_SIDE

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T 1010"]:
        """Match sentences as they are with what images resemble, as unit rows; zero where nothing matches.

        Raises:
            VocabularyError: A sentence is longer than the text encoder can read.
        """
        words = normalize(self.text_encoder(list(sentences)), dim=-1).to(self.kind_of_name.device)
        return normalize(self._match_all(words, "single"), dim=-1)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S 1010"]:
        """Match words with the thousand names, the kinds of stuff, and "person"; all in [0, 1].

        The word "background" matches every kind of stuff fully.
        """
        embeddings = self._match_all(self._embed(names, prompts), prompts)
        backgrounds = [row for row, name in enumerate(names) if name.casefold() == _BACKGROUND]
        first = len(self.kind_of_name)
        embeddings[backgrounds, first : first + len(SCENE_NAMES)] = 1.0
        return embeddings

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Add up what a patch resembles, weighted by how well it matches each word."""
        return similarity_map(features.tokens, embeddings, features.grid)

    def _embed(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        return embed_names(self.text_encoder, names, prompts).to(self.kind_of_name.device)

    def _match_all(self, words: Float[Tensor, "S D"], prompts: str) -> Float[Tensor, "S 1010"]:
        """Match embedded words with the names, the kinds of stuff and "person", put into prompts, block by block."""
        known = self._embed([each.name for each in imagenet_classes()], prompts)
        kinds = self._embed(self.kinds, prompts)
        priors = self._embed([*SCENE_NAMES, _PERSON], prompts)
        blocks = [words[start : start + WORDS_PER_BLOCK] for start in range(0, len(words), WORDS_PER_BLOCK)]
        return torch.cat([self._match_words(block, known, kinds, priors) for block in blocks])

    def _match_words(
        self,
        words: Float[Tensor, "S D"],
        known: Float[Tensor, "1000 D"],
        kinds: Float[Tensor, "kinds D"],
        priors: Float[Tensor, "10 D"],
    ) -> Float[Tensor, "S 1010"]:
        similarity = words @ known.T
        if self.method.use_kinds:
            similarity = torch.maximum(similarity, (words @ kinds.T)[:, self.kind_of_name])
        matches = _match(similarity, self.method.min_similarity)
        return torch.cat([matches, _match(words @ priors.T, self.method.min_scene_similarity)], dim=-1)

    def _read(
        self, images: Float[Tensor, "B 3 H W"], size: float, grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "B N 1000"], Float[Tensor, "B 1000"]]:
        """Give the logits of each patch of ``grid``, and of the image, read at a multiple of its size."""
        step = self.image_encoder.stride
        wanted = [max(1, round(side * size / step)) * step for side in images.shape[2:]]
        if wanted != list(images.shape[2:]):
            images = interpolate(images, size=wanted, mode="bilinear", antialias=True)
        features = self.image_encoder(images)
        assert features.global_token is not None
        maps = features.as_map()
        if features.grid != grid:
            maps = interpolate(maps, size=grid, mode="bilinear")
        return rearrange(maps, "b d h w -> b (h w) d"), features.global_token


def _match(similarity: Float[Tensor, "S D"], smallest: float) -> Float[Tensor, "S D"]:
    """Map cosines from ``smallest``..1 to 0..1, and everything below to 0."""
    return (similarity - smallest).clamp(min=0) / (1 - smallest)


def _keep_most_probable(posterior: Float[Tensor, "B N D"], num_names: int) -> Float[Tensor, "B N D"]:
    if num_names >= posterior.shape[-1]:
        return posterior
    kept, index = posterior.topk(num_names, dim=-1)
    return torch.zeros_like(posterior).scatter(-1, index, kept / kept.sum(dim=-1, keepdim=True))
