"""GroupViT: a vision transformer that groups its patches into a few segments, and a small text transformer.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. Learned group tokens
stand beside the patches; after some blocks every patch is given to one of them, and the groups go on in its
place (``layers.grouping``). The image's vector is the mean of the last segments.

Parameters are called as in transformers' ``GroupViTModel``, so that published checkpoints fit by name and a
network trained here can be read there; the test compares both on random weights.

Differences from transformers: inputs of any size that is a multiple of the patch, normalisation inside, the
logit scale capped at 100 as while training, stochastic depth in training (linear to ``drop_path``).
"""

from itertools import accumulate
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import gelu

from lexiseg.layers.encoder_layer import Activation, EncoderLayer, quick_gelu
from lexiseg.layers.grouping import Assignment, GroupingBlock, TokenMixing
from lexiseg.layers.projection import Projection
from lexiseg.layers.transformer_block import initialise_linear
from lexiseg.models.groupvit_shape import GroupViTShape
from lexiseg.ops.position_table import resize_position_table


class Stage(nn.Module):
    """Some blocks over segments and group tokens, then a grouping block where the stage has group tokens.

    Args:
        shape: Of the whole network.
        index: Which stage.
        drop_paths: One rate a block.
    """

    def __init__(self, shape: GroupViTShape, index: int, drop_paths: list[float]) -> None:
        super().__init__()
        width, self.num_tokens = shape.width, shape.group_tokens[index]
        self.layers = nn.ModuleList(
            EncoderLayer(width, shape.num_heads, shape.feed_forward, shape.norm_eps, drop_path=rate)
            for rate in drop_paths
        )
        if self.num_tokens == 0:
            return
        self.group_token = nn.Parameter(torch.zeros(1, self.num_tokens, width))
        self.downsample = GroupingBlock(
            width,
            shape.num_heads,
            num_tokens=self.num_tokens,
            num_groups=shape.groups[index],
            token_hidden=int(shape.token_ratio * width),
            cross_hidden=shape.feed_forward,
            channel_hidden=int(shape.channel_ratio * width),
            norm_eps=shape.norm_eps,
            divisor_offset=shape.divisor_offset,
            hard=shape.hard_groups,
        )
        if index > 0:
            # Later stages start from the tokens of the stage before; their own table starts at zero.
            self.group_projector = nn.Sequential(
                nn.LayerNorm(width, eps=shape.norm_eps),
                TokenMixing(shape.group_tokens[index - 1], width // 2, self.num_tokens),
            )

    def forward(
        self, segments: Float[Tensor, "B N D"], before: Float[Tensor, "B S D"] | None
    ) -> tuple[Float[Tensor, "B G D"], Float[Tensor, "B T D"] | None, Float[Tensor, "B G N"] | None]:
        """Return the groups, the group tokens as the blocks left them, and the assignment's logits."""
        if self.num_tokens == 0:
            return self._blocks(segments), None, None
        tokens = self.group_token.expand(len(segments), -1, -1)
        if before is not None:
            tokens = tokens + self.group_projector(before)
        both = self._blocks(torch.cat([segments, tokens.to(segments.dtype)], dim=1))
        segments, tokens = both[:, : segments.shape[1]], both[:, segments.shape[1] :]
        groups, logits = self.downsample(segments, tokens)
        return groups, tokens, logits

    def _blocks(self, tokens: Tensor) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class PatchEmbeddings(nn.Module):
    """Normalised pixels to patch tokens.

    Args:
        shape: Of the whole network.
    """

    def __init__(self, shape: GroupViTShape) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, shape.width, shape.patch, shape.patch)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return one token a patch, laid out as the image."""
        return self.projection(pixels)


class ImageEmbeddings(nn.Module):
    """Normalised pixels to tokens that know their place.

    Args:
        shape: Of the whole network.
    """

    def __init__(self, shape: GroupViTShape) -> None:
        super().__init__()
        self.grid_side = shape.grid_side
        self.patch_embeddings = PatchEmbeddings(shape)
        self.position_embeddings = nn.Parameter(torch.zeros(1, shape.grid_side**2, shape.width))
        self.layernorm = nn.LayerNorm(shape.width, eps=shape.norm_eps)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B N D"], tuple[int, int]]:
        """Return the tokens in raster order, and their grid."""
        feature_map = self.patch_embeddings(pixels)
        grid = (feature_map.shape[2], feature_map.shape[3])
        table = rearrange(self.position_embeddings, "1 (h w) d -> h w d", h=self.grid_side)
        tokens = self.layernorm(rearrange(feature_map, "b d h w -> b (h w) d"))
        return tokens + resize_position_table(table, grid, "bicubic"), grid


class ImageStages(nn.Module):
    """All stages of the image transformer, one after the other.

    Args:
        shape: Of the whole network.
    """

    def __init__(self, shape: GroupViTShape) -> None:
        super().__init__()
        num_blocks = sum(shape.depths)
        rates = [shape.drop_path * block / max(num_blocks - 1, 1) for block in range(num_blocks)]
        firsts = accumulate(shape.depths, initial=0)
        self.stages = nn.ModuleList(
            Stage(shape, index, rates[first : first + depth])
            for index, (first, depth) in enumerate(zip(firsts, shape.depths, strict=False))
        )

    def forward(
        self, segments: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B G D"], list[Float[Tensor, "B _ _"]]]:
        """Return the last segments and the logits of each assignment."""
        tokens, assignments = None, []
        for stage in self.stages:
            segments, tokens, logits = stage(segments, tokens)
            if logits is not None:
                assignments.append(logits)
        return segments, assignments


class VisionModel(nn.Module):
    """Normalised pixels to segments, and to the assignments that led to them.

    Args:
        shape: How large it is.
    """

    def __init__(self, shape: GroupViTShape) -> None:
        super().__init__()
        self.embeddings = ImageEmbeddings(shape)
        self.encoder = ImageStages(shape)
        self.layernorm = nn.LayerNorm(shape.width, eps=shape.norm_eps)

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B G D"], list[Float[Tensor, "B _ _"]], tuple[int, int]]:
        """Return the segments, the logits of each assignment, and the grid of patches."""
        tokens, grid = self.embeddings(pixels)
        segments, assignments = self.encoder(tokens)
        return self.layernorm(segments), assignments, grid


class TextEmbeddings(nn.Module):
    """Token ids to tokens that know their place.

    Args:
        shape: Of the whole network.
        num_tokens: Size of the vocabulary.
    """

    def __init__(self, shape: GroupViTShape, num_tokens: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(num_tokens, shape.text_width)
        self.position_embedding = nn.Embedding(shape.max_tokens, shape.text_width)

    def forward(self, ids: Int64[Tensor, "T L"]) -> Float[Tensor, "T L D"]:
        """Embed token ids."""
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class TextLayers(nn.Module):
    """All blocks of the text transformer.

    Args:
        shape: Of the whole network.
        activation: Of the feed-forward networks.
    """

    def __init__(self, shape: GroupViTShape, activation: Activation) -> None:
        super().__init__()
        sizes = (shape.text_width, shape.text_heads, shape.text_feed_forward, shape.norm_eps)
        self.layers = nn.ModuleList(
            EncoderLayer(*sizes, activation=activation, causal=True) for _ in range(shape.text_depth)
        )

    def forward(self, tokens: Float[Tensor, "T L D"]) -> Float[Tensor, "T L D"]:
        """Update every token; each sees only those before it."""
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens


class TextModel(nn.Module):
    """Token ids to the state of the last token: a causal transformer.

    Args:
        shape: How large it is.
        num_tokens: Size of the vocabulary.
        activation: Of the feed-forward networks.
    """

    def __init__(self, shape: GroupViTShape, num_tokens: int, activation: Activation) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(shape, num_tokens)
        self.encoder = TextLayers(shape, activation)
        self.final_layer_norm = nn.LayerNorm(shape.text_width, eps=shape.norm_eps)

    def forward(self, ids: Int64[Tensor, "T L"], lengths: Int64[Tensor, " T"]) -> Float[Tensor, "T D"]:
        """Encode texts; what follows a text's last token changes nothing."""
        tokens = self.encoder(self.embeddings(ids))
        return self.final_layer_norm(tokens[torch.arange(len(ids), device=ids.device), lengths - 1])


class GroupViTNetwork(nn.Module):
    """Both transformers, their projections and the learned scale of similarities.

    Args:
        shape: How large it is; 55.7 million parameters for the paper's.
        num_tokens: Size of the text vocabulary.
        text_activation: Of the text transformer's feed-forward networks; CLIP's GELU as published.
    """

    def __init__(
        self,
        shape: GroupViTShape,
        num_tokens: int,
        text_activation: Literal["quick_gelu", "gelu"] = "quick_gelu",
    ) -> None:
        super().__init__()
        self.shape = shape
        activation = quick_gelu if text_activation == "quick_gelu" else gelu
        self.text_model = TextModel(shape, num_tokens, activation)
        self.vision_model = VisionModel(shape)
        into = (shape.projection_hidden, shape.embedding_dim, shape.projection_norm)
        self.visual_projection = Projection(shape.width, *into)
        self.text_projection = Projection(shape.text_width, *into)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def initialise(self) -> "GroupViTNetwork":
        """Draw the first weights; the tables of later stages are zero, so that they start from the image alone."""
        initialise_linear(self, self.shape.init_std)
        image, text = self.vision_model.embeddings, self.text_model.embeddings
        first = self.vision_model.encoder.stages[0]
        assert isinstance(first, Stage)
        for table in (
            image.patch_embeddings.projection.weight,
            image.position_embeddings,
            first.group_token,
            text.token_embedding.weight,
            text.position_embedding.weight,
        ):
            nn.init.trunc_normal_(table, std=0.02)
        if self.shape.spread_groups:
            nn.init.normal_(first.group_token)
            for part in self.vision_model.modules():
                if isinstance(part, TokenMixing):
                    layers = [part.fc1, part.fc2]
                else:
                    layers = [part.q_proj, part.k_proj] if isinstance(part, Assignment) else []
                for layer in layers:
                    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        if self.shape.content_start:
            for part in self.vision_model.modules():
                if isinstance(part, Assignment):
                    for layer, factor in (
                        (part.q_proj, 4),
                        (part.k_proj, 1),
                        (part.v_proj, 1),
                        (part.proj, 3),
                    ):
                        nn.init.normal_(layer.weight, std=factor * layer.in_features**-0.5)
        return self
