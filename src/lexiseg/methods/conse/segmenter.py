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
* Names that were seen with masks, if there is a head for them (``models.name_head``), decide between the words that mean
  them, and a word means a name of the head from ``min_head_similarity`` on: see ``class_scores``.
* Where there is a vision model beside it, a patch's evidence is averaged over those that it finds alike (``soft_affinity``).

The plain recipe (top ten names, every similarity, no kinds, no priors, one size) is ``settings.PLAIN``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from lexiseg.core.features import PatchFeatures
from lexiseg.core.interfaces import ImageEncoder, TextEncoder
from lexiseg.data.class_lists import imagenet_classes
from lexiseg.inference.grounds import AskedPixel, Grounds
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.inference.text_embeddings import embed_names
from lexiseg.methods.conse.evidence import evidence_at
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.models.efficientnet_lite import EfficientNetLite0
from lexiseg.models.name_head import NameHead, NetworkMaps
from lexiseg.ops.evidence_sharing import defer_to_scores, keep_best_match, share_anew
from lexiseg.ops.patch_places import whole_extents
from lexiseg.ops.proxy_attention import soft_affinity
from lexiseg.ops.scene_prior import SCENE_NAMES, appearance, scene_prior
from lexiseg.ops.similarity import similarity_map

#: Words compared at a time: memory beside the result does not grow with the vocabulary.
WORDS_PER_BLOCK = 1024

#: Side of images that are embedded whole: what the published classifiers were trained with.
_WHOLE_SIDE = 224

_PERSON = "person"
_BACKGROUND = "background"


class ConSE(Segmenter):
    """Score words by the names a patch resembles. Scores lie in [0, 2], mostly below 1.

    With a head, words that it knows share what the best of them had, and so depend on each other.

    Args:
        image_encoder: Its tokens are logits of the classes of ``data.class_lists``.
        text_encoder: Gives the embeddings in which names and words are compared.
        name: What the model was asked for by.
        settings: Inference defaults.
        method: How images are read and words are matched.
        fingerprints: Content hashes of the weights, for the record.
        notice: What a person must know before trusting results.
        head: Knows more names; wants an ``EfficientNetLite0``. Given if ``method.head`` is not none.
        smoother: Says which patches are alike. Given if ``method.smooth`` is dinov2, not given if it is none; auto goes by
            whether it is given.
    """

    measure = "match"
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
        head: NameHead | None = None,
        smoother: ImageEncoder | None = None,
    ) -> None:
        super().__init__()
        if method.smooth == "auto":
            method = replace(method, smooth="none" if smoother is None else "dinov2")
        given, asked = (head is None, smoother is None), (method.head == "none", method.smooth == "none")
        assert given == asked, "a head and a smoother where the settings ask for one"
        self.variant = None if smoother is None else "smoothed by dinov2-small"
        self.head = head
        self.smoother = smoother
        self.independent_classes = head is None
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.name = name
        self.settings = settings
        # Over larger windows of a raster, means and smoothing would mix what is far apart.
        self.largest_window = settings.short_side
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

    @property
    def scale_settings(self) -> Mapping[str, Any]:
        """Leave out the head: whatever it shares anew, the highest score of a patch stays as high as it was."""
        idle = ("head", "min_head") if self.smoother is not None else ("head", "min_head", "smooth")
        return {name: value for name, value in self.method_settings.items() if not name.startswith(idle)}

    @property
    def _num_plain(self) -> int:
        """Length of a token without what the head says."""
        return len(self.kind_of_name) + len(SCENE_NAMES) + 1

    def encode_images(self, images: Float[Tensor, "B 3 H W"]) -> PatchFeatures:
        """Encode RGB images in [0, 1] whose sides are multiples of ``stride``.

        Returns:
            Tokens ``B N D`` with 1010 numbers and as many more as the head knows names: the posterior
            over the thousand names, evidence for each of ``SCENE_NAMES``, evidence for a person,
            the head's posterior. All are in [0, 1] but the last two, which ``person_weight`` and
            ``head_weight`` scale. The global token is their mean, made unit length, with nothing of the head.
        """
        return self.encode_windows(images, whole_extents(len(images)))

    def encode_windows(
        self, images: Float[Tensor, "B 3 H W"], extents: Float[Tensor, "B 4"], *regions: Tensor
    ) -> PatchFeatures:
        """Encode windows of larger images: height and place are those in the image, or the mean over all of them."""
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        first, maps = self._read_with_maps(images, grid)
        read = [first, *(self._read(images, size, grid) for size in self.method.sizes[1:])]
        patch_logits = torch.stack([patches for patches, _ in read]).mean(0)
        image_logits = torch.stack([image for _, image in read]).mean(0)
        logits = patch_logits + self.method.image_weight * image_logits[:, None]
        posterior = (logits / self.method.temperature).softmax(dim=-1)

        kinds = posterior.new_zeros(*posterior.shape[:2], len(self.kinds))
        certainty = kinds.index_add(-1, self.kind_of_name, posterior).amax(dim=-1, keepdim=True)
        for_scene = self.method.scene_weight * (1 - certainty)
        scene = for_scene * scene_prior(appearance(images, self.stride, extents))
        person = self.method.person_weight * (posterior @ self.shown_with_people)[..., None]
        names = (1 - for_scene) * _keep_most_probable(posterior, self.method.num_names)
        tokens = torch.cat([names, scene, person], dim=-1)
        whole = normalize(tokens.mean(dim=1), dim=-1)
        if self.head is not None and maps is not None:
            seen = self.method.head_weight * self.head(images, maps, grid, extents)
            tokens = torch.cat([tokens, seen], dim=-1)
            whole = pad(whole, (0, seen.shape[-1]))
        if self.smoother is not None:
            alike = normalize(tokens_on_grid(self.smoother, images, grid), dim=-1)
            tokens = soft_affinity(alike, self.method.smooth_temperature) @ tokens
        return PatchFeatures(tokens=tokens, grid=grid, stride=self.stride, global_token=whole)

    @property
    def image_side(self) -> int:
        """Side of the square images that are embedded whole."""
        return _WHOLE_SIDE

    def embed_sentences(self, sentences: Sequence[str]) -> Float[Tensor, "T D"]:
        """Match sentences as they are with what images resemble, as unit rows; zero where nothing matches.

        Raises:
            VocabularyError: A sentence is longer than the text encoder can read.
        """
        words = normalize(self.text_encoder(list(sentences)), dim=-1).to(self.kind_of_name.device)
        matches = self._match_all(words, "single")
        matches[:, self._num_plain :] = 0
        return normalize(matches, dim=-1)

    def embed_texts(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        """Match words with all that ``encode_images`` gives evidence for; all in [0, 1].

        The word "background" matches every kind of stuff fully, and the head's names of stuff by ``head_background``.
        """
        embeddings = self._match_all(self._embed(names, prompts), prompts)
        backgrounds = [row for row, name in enumerate(names) if name.casefold() == _BACKGROUND]
        first = len(self.kind_of_name)
        embeddings[backgrounds, first : first + len(SCENE_NAMES)] = 1.0
        if self.head is not None:
            embeddings[backgrounds, self._num_plain + self.head.num_things :] = self.method.head_background
        return embeddings

    def class_scores(
        self, features: PatchFeatures, embeddings: Float[Tensor, "S D"]
    ) -> Float[Tensor, "B S h w"]:
        """Add up what a patch resembles, weighted by how well it matches each word; the head shares anew.

        What words have that the head does not know is not touched. Between things, words that mean none of its stuff, it
        leaves a part to ImageNet's classifier, which has seen a thousand photographs of a giraffe.
        """
        plain = slice(None, self._num_plain)
        scores = similarity_map(features.tokens[..., plain], embeddings[:, plain], features.grid)
        if self.head is None:
            return scores
        matches = keep_best_match(embeddings[:, self._num_plain :])
        known = (matches > 0).any(dim=1)
        if known.sum() > 1:  # one alone has nobody to share with
            seen = self._seen_by_head(self.head.num_things, features, matches[known], scores[:, known])
            scores[:, known] = share_anew(scores[:, known], seen)
        return scores

    def grounds(self, asked: AskedPixel) -> Grounds:
        """Tell which of ImageNet's names, of the head's and of the priors a pixel resembles, and by how much each counts."""
        grounds = super().grounds(asked)
        learnt = () if self.head is None else self.head.names
        evidence = evidence_at(asked, grounds.two_best(asked.place), learnt)
        return replace(grounds, evidence=(*grounds.evidence, *evidence))

    def _seen_by_head(
        self,
        num_things: int,
        features: PatchFeatures,
        matches: Float[Tensor, "S K"],
        scores: Float[Tensor, "B S h w"],
    ) -> Float[Tensor, "B S h w"]:
        tokens, grid = features.tokens[..., self._num_plain :], features.grid
        means_stuff = (matches[:, num_things:] > 0).any(dim=1, keepdim=True)  # "table" may mean both
        of_things = matches.masked_fill(means_stuff, 0)
        are_things = (of_things > 0).any(dim=1).to(scores.dtype)[:, None, None]
        deferred = similarity_map(tokens, of_things, grid)
        others = similarity_map(tokens, matches - of_things, grid)
        return others + defer_to_scores(deferred, scores * are_things, self.method.head_thing_share)

    def _embed(self, names: Sequence[str], prompts: str) -> Float[Tensor, "S D"]:
        return embed_names(self.text_encoder, names, prompts).to(self.kind_of_name.device)

    def _match_all(self, words: Float[Tensor, "S E"], prompts: str) -> Float[Tensor, "S D"]:
        """Match embedded words with all names, put into prompts, block by block."""
        known = self._embed([each.name for each in imagenet_classes()], prompts)
        kinds = self._embed(self.kinds, prompts)
        priors = self._embed([*SCENE_NAMES, _PERSON], prompts)
        of_head = None if self.head is None else self._embed(self.head.names, prompts)
        blocks = [words[start : start + WORDS_PER_BLOCK] for start in range(0, len(words), WORDS_PER_BLOCK)]
        matches = torch.cat([self._match_words(block, known, kinds, priors) for block in blocks])
        if of_head is None:
            return matches
        return torch.cat([matches, _match(words @ of_head.T, self.method.min_head_similarity)], dim=-1)

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

    def _read_with_maps(
        self, images: Float[Tensor, "B 3 H W"], grid: tuple[int, int]
    ) -> tuple[tuple[Float[Tensor, "B N 1000"], Float[Tensor, "B 1000"]], NetworkMaps | None]:
        """Read the images at the first size; return the network's maps too where there is a head that reads them."""
        size = self.method.sizes[0]
        if self.head is None:
            return self._read(images, size, grid), None
        assert isinstance(self.image_encoder, EfficientNetLite0), "the head reads its maps"
        features, middle, last = self.image_encoder.encode_with_maps(self._at_size(images, size))
        return _logits(features, grid), NetworkMaps(middle=middle, last=last)

    def _read(
        self, images: Float[Tensor, "B 3 H W"], size: float, grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "B N 1000"], Float[Tensor, "B 1000"]]:
        """Return the logits of each patch of ``grid``, and of the image, read at a multiple of its size."""
        return _logits(self.image_encoder(self._at_size(images, size)), grid)

    def _at_size(self, images: Float[Tensor, "B 3 H W"], size: float) -> Float[Tensor, "B 3 _ _"]:
        step = self.image_encoder.stride
        wanted = [max(1, round(side * size / step)) * step for side in images.shape[2:]]
        if wanted == list(images.shape[2:]):
            return images
        return interpolate(images, size=wanted, mode="bilinear", antialias=True)


def tokens_on_grid(
    encoder: ImageEncoder, images: Float[Tensor, "B 3 H W"], grid: tuple[int, int]
) -> Float[Tensor, "B N D"]:
    """Encode images at the size that makes an encoder's own grid the one that is wanted."""
    size = [side * encoder.stride for side in grid]
    return encoder(interpolate(images, size=size, mode="bilinear", antialias=True)).tokens


def _logits(
    features: PatchFeatures, grid: tuple[int, int]
) -> tuple[Float[Tensor, "B N 1000"], Float[Tensor, "B 1000"]]:
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
