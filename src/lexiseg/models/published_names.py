"""What published files call their tensors, family by family.

The files on the hub were written by the library of their day; transformers 5 and diffusers call some parts otherwise,
keep in two tensors what was one, or no longer store what follows from the settings. A tensor that is not in a family's
table keeps its name, and whatever the network does not know is refused by ``checkpoint.check_checkpoint``.

The renamings are those of transformers' own conversion tables (``transformers.conversion_mapping``, 5.23) and of
diffusers' ``AutoencoderKL``. ``tests/fixtures/hub_shapes`` holds the names of the published files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

#: Whole numbers in the files of ResNet and Swin that say nothing.
COUNTS_AND_TABLES: tuple[str, ...] = (r"\.num_batches_tracked$", r"\.relative_position_index$")

_DINOV2 = (
    (r"^dinov2(_with_registers)?\.", ("",)),  # classifiers keep the network one level down
    (r"attention\.attention\.query", ("attention.q_proj",)),
    (r"attention\.attention\.key", ("attention.k_proj",)),
    (r"attention\.attention\.value", ("attention.v_proj",)),
    (r"attention\.output\.dense", ("attention.o_proj",)),
    (r"mlp\.weights_in", ("mlp.gate_proj", "mlp.up_proj")),
    (r"mlp\.weights_out", ("mlp.down_proj",)),
)
_VIT = (
    (r"^(vit|dino)\.", ("",)),
    (r"^encoder\.layer\.", ("layers.",)),
    (r"attention\.attention\.query", ("attention.q_proj",)),
    (r"attention\.attention\.key", ("attention.k_proj",)),
    (r"attention\.attention\.value", ("attention.v_proj",)),
    (r"attention\.output\.dense", ("attention.o_proj",)),
    (r"intermediate\.dense", ("mlp.fc1",)),
    (r"(?<!attention\.)output\.dense", ("mlp.fc2",)),
)
_SWIN_LAYERS = (
    (r"attention\.self\.query", ("attention.q_proj",)),
    (r"attention\.self\.key", ("attention.k_proj",)),
    (r"attention\.self\.value", ("attention.v_proj",)),
    (
        r"attention\.self\.relative_position_bias_table",
        ("attention.relative_position_bias.relative_position_bias_table",),
    ),
    (r"attention\.output\.dense", ("attention.o_proj",)),
    (r"intermediate\.dense", ("mlp.fc1",)),
    (r"(?<!attention\.)output\.dense", ("mlp.fc2",)),
)
_SEGFORMER = (
    (r"^decode_head\.linear_c\.", ("decode_head.linear_projections.",)),
    (r"encoder\.block\.(\d+)\.(\d+)\.", (r"stages.\1.blocks.\2.",)),
    (r"encoder\.layer_norm\.(\d+)\.", (r"stages.\1.layer_norm.",)),
    (r"encoder\.patch_embeddings\.(\d+)\.", (r"stages.\1.patch_embeddings.",)),
    (r"attention\.self\.query", ("attention.q_proj",)),
    (r"attention\.self\.key", ("attention.k_proj",)),
    (r"attention\.self\.value", ("attention.v_proj",)),
    (r"attention\.self\.sr\.", ("attention.sequence_reduction.sequence_reduction.",)),
    (r"attention\.self\.layer_norm\.", ("attention.sequence_reduction.layer_norm.",)),
    (r"attention\.output\.dense", ("attention.o_proj",)),
    (r"layer_norm_1\.", ("layernorm_before.",)),
    (r"layer_norm_2\.", ("layernorm_after.",)),
    (r"mlp\.dense1", ("mlp.fc1",)),
    (r"mlp\.dense2", ("mlp.fc2",)),
)


@dataclass(frozen=True, kw_only=True)
class PublishedNames:
    """How the files of one family name their tensors.

    Attributes:
        renamed: A pattern, and what takes the place of the part that it matches. Several are equal parts of the
            tensor along its first axis. All that match are applied, in order.
        left_out: Patterns of tensors that the network does without.
    """

    renamed: tuple[tuple[str, tuple[str, ...]], ...] = ()
    left_out: tuple[str, ...] = ()


FAMILIES: dict[str, PublishedNames] = {
    # The first files were converted from TensorFlow, which calls the parts of a normalisation gamma and beta.
    "bert": PublishedNames(
        renamed=(
            (r"^bert\.", ("",)),
            (r"LayerNorm\.gamma$", ("LayerNorm.weight",)),
            (r"LayerNorm\.beta$", ("LayerNorm.bias",)),
        ),
        left_out=(r"^cls\.", r"^classifier\.", r"^(bert\.)?pooler\.", r"embeddings\.position_ids$"),
    ),
    # Files written before transformers 4.31 hold the positions 0, 1, 2, … of both encoders.
    "clip": PublishedNames(left_out=(r"^(text|vision)_model\.embeddings\.position_ids$",)),
    "clip_text": PublishedNames(
        renamed=((r"^text_model\.", ("",)),), left_out=(r"^(text_model\.)?embeddings\.position_ids$",)
    ),
    "groupvit": PublishedNames(
        left_out=(r"^text_model\.embeddings\.position_ids$", r"\.num_batches_tracked$")
    ),
    "siglip": PublishedNames(left_out=(r"^(text|vision)_model\.embeddings\.position_ids$",)),
    "dinov2": PublishedNames(renamed=_DINOV2, left_out=(r"^classifier\.",)),
    "vit": PublishedNames(renamed=_VIT, left_out=(r"^classifier\.", r"^(vit\.)?pooler\.dense\.")),
    # The hub's checkpoint is one for video; the detector is what sees single images.
    "sam3": PublishedNames(
        renamed=((r"^detector_model\.", ("",)),), left_out=(r"^tracker_model\.", r"^tracker_neck\.")
    ),
    # What a video checkpoint remembers of earlier frames.
    "sam2": PublishedNames(
        left_out=(
            r"^memory_",
            r"^mask_downsample",
            r"^object_pointer_proj",
            r"^temporal_positional_encoding_projection_layer",
            r"^no_memory_positional_encoding",
            r"^no_object_pointer",
            r"^occlusion_spatial_embedding_parameter",
        )
    ),
    # The decoder's one attention layer, as diffusers before 0.17 called it.
    "autoencoder": PublishedNames(
        renamed=(
            (r"(\.attentions\.\d+\.)query\.", (r"\1to_q.",)),
            (r"(\.attentions\.\d+\.)key\.", (r"\1to_k.",)),
            (r"(\.attentions\.\d+\.)value\.", (r"\1to_v.",)),
            (r"(\.attentions\.\d+\.)proj_attn\.", (r"\1to_out.0.",)),
        )
    ),
    "resnet": PublishedNames(
        renamed=((r"^(resnet\.)?", ("network.",)),), left_out=(r"^classifier\.", *COUNTS_AND_TABLES)
    ),
    # Inside Mask2Former and OneFormer, where transformers 5 keeps the backbone one level further down.
    "swin_backbone": PublishedNames(
        renamed=((r"^(encoder|embeddings)\.", (r"swin.\1.",)), *_SWIN_LAYERS), left_out=COUNTS_AND_TABLES
    ),
    # The auxiliary heads are for training.
    "dpt": PublishedNames(left_out=(r"^auxiliary_head\.", r"^dpt\.pooler\.", *COUNTS_AND_TABLES)),
    "segformer": PublishedNames(renamed=_SEGFORMER, left_out=COUNTS_AND_TABLES),
    "upernet": PublishedNames(
        renamed=(
            (r"^backbone\.encoder\.layers\.", ("backbone.swin.encoder.layers.",)),
            (
                r"^backbone\.embeddings\.(norm|patch_embeddings\.projection)\.",
                (r"backbone.swin.embeddings.\1.",),
            ),
            *_SWIN_LAYERS,
        ),
        left_out=(r"^auxiliary_head\.", *COUNTS_AND_TABLES),
    ),
    "clipseg": PublishedNames(left_out=(r"\.embeddings\.position_ids$",)),
    "swin": PublishedNames(renamed=((r"^swin\.", ("",)),), left_out=(r"^classifier\.", *COUNTS_AND_TABLES)),
}


def published_names(family: str) -> Callable[[str], tuple[str, ...]]:
    """Build the function from a tensor's name in a published file to its names in the network.

    Args:
        family: A key of ``FAMILIES``.

    Returns:
        For ``checkpoint.build_model``: no name for what is left out, several for equal parts along the first axis.
    """
    names = FAMILIES[family]
    renamed = [(re.compile(pattern), parts) for pattern, parts in names.renamed]
    left_out = [re.compile(pattern) for pattern in names.left_out]

    def targets(name: str) -> tuple[str, ...]:
        if any(pattern.search(name) for pattern in left_out):
            return ()
        found: tuple[str, ...] = (name,)
        for pattern, parts in renamed:
            if any(pattern.search(part) for part in found):
                found = tuple(pattern.sub(new, part) for part in found for new in parts)
        return found

    return targets
