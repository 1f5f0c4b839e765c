"""The grouping block of GroupViT: learned tokens collect the tokens of an image into groups.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022. Every input token is
given to one group. In training the choice is drawn, by Gumbel noise, and passes its gradient straight
through (Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017); in evaluation it is
the most likely group, without noise.

Parameters are called as in transformers' ``GroupViTModel``, so that published tensors fit by name.

Difference from the paper's formula: a group's mean divides by its number of tokens and ``divisor_offset``,
1 in the released code; 0 is the plain mean, where an empty group gives zeros too.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.layers.encoder_layer import Attention, FeedForward


def hard_assignment(logits: Float[Tensor, "B G N"]) -> Float[Tensor, "B G N"]:
    """Assign every token to its best group: exact zeros and ones, with the gradient of the softmax.

    Args:
        logits: How well each group takes each token; in training with ``gumbel_noise`` added.
    """
    soft = soft_assignment(logits)
    best = soft.detach().argmax(dim=1, keepdim=True)
    # In this order: soft - soft is an exact zero, which one-hot + soft - soft would not always be.
    return (soft - soft.detach()).scatter_add(1, best, torch.ones_like(soft[:, :1]))


def soft_assignment(logits: Float[Tensor, "B G N"]) -> Float[Tensor, "B G N"]:
    """Share every token out among the groups: each column sums to 1, rows need not."""
    return logits.softmax(dim=1)


def gumbel_noise(like: Float[Tensor, "B G N"]) -> Float[Tensor, "B G N"]:
    """Draw independent noise of the standard Gumbel distribution from torch's global generator.

    The best of ``logits + noise`` is a group with the probability that the softmax of the logits gives it.
    """
    return -torch.empty_like(like).exponential_().log()


def merge_tokens(
    assignment: Float[Tensor, "B G N"], values: Float[Tensor, "B N D"], divisor_offset: float = 1.0
) -> Float[Tensor, "B G D"]:
    """Average the values of each group's tokens; a group without tokens gets zeros.

    Args:
        assignment: Share of each token in each group; zeros and ones if hard.
        values: One row a token.
        divisor_offset: Added to the number of tokens that a group's sum is divided by.
    """
    counts = assignment.sum(dim=2, keepdim=True)
    if divisor_offset == 0:
        counts = torch.where(counts > 0, counts, torch.ones_like(counts))
    return (assignment / (counts + divisor_offset)) @ values


class TokenMixing(FeedForward):
    """A feed-forward network along the axis of tokens: from their number to another number of them."""

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B G D"]:
        """Make ``G`` tokens of ``N``."""
        return rearrange(super().forward(rearrange(tokens, "b n d -> b d n")), "b d g -> b g d")


class CrossAttentionBlock(nn.Module):
    """Group tokens look at the image's tokens: attention without a norm before, then a feed-forward network.

    Args:
        width: Length of a token.
        num_heads: Of the attention.
        hidden: Of the feed-forward network.
        norm_eps: Added to the variance by the normalisations.
    """

    def __init__(self, width: int, num_heads: int, hidden: int, norm_eps: float) -> None:
        super().__init__()
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = FeedForward(width, hidden)
        self.norm_post = nn.LayerNorm(width, eps=norm_eps)

    def forward(
        self, groups: Float[Tensor, "B G D"], tokens: Float[Tensor, "B N D"]
    ) -> Float[Tensor, "B G D"]:
        """Update the group tokens."""
        groups = groups + self.attn(groups, tokens)
        groups = groups + self.mlp(self.norm2(groups))
        return self.norm_post(groups)


class Assignment(nn.Module):
    """Assign every token to a group and average the groups' tokens. One head.

    Args:
        width: Length of a token.
        divisor_offset: See ``merge_tokens``.
        hard: Whether a token goes to one group or is shared out; for the paper's ablation.
    """

    def __init__(self, width: int, *, divisor_offset: float = 1.0, hard: bool = True) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.divisor_offset, self.hard = divisor_offset, hard

    def forward(
        self, groups: Float[Tensor, "B G D"], tokens: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B G D"], Float[Tensor, "B G N"]]:
        """Merge the tokens; return the merged groups and the assignment's logits, without noise."""
        # Scaling the smaller factor costs less than scaling every logit.
        query = self.q_proj(groups) * groups.shape[-1] ** -0.5
        logits = query @ rearrange(self.k_proj(tokens), "b n d -> b d n")
        noisy = logits + gumbel_noise(logits) if self.training else logits
        chosen = hard_assignment(noisy) if self.hard else soft_assignment(noisy)
        return self.proj(merge_tokens(chosen, self.v_proj(tokens), self.divisor_offset)), logits


class GroupingBlock(nn.Module):
    """Segments and group tokens in; fewer segments out, and which token went where.

    Args:
        width: Length of a token.
        num_heads: Of the cross-attention.
        num_tokens: Group tokens that come in.
        num_groups: Groups that come out.
        token_hidden: Inner width of the mixing of group tokens.
        cross_hidden: Inner width of the feed-forward network of the cross-attention.
        channel_hidden: Inner width of the feed-forward network at the end.
        norm_eps: Added to the variance by the normalisations.
        divisor_offset: See ``merge_tokens``.
        hard: See ``Assignment``.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        num_tokens: int,
        num_groups: int,
        token_hidden: int,
        cross_hidden: int,
        channel_hidden: int,
        norm_eps: float = 1e-5,
        divisor_offset: float = 1.0,
        hard: bool = True,
    ) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width, eps=norm_eps)
        self.mlp_inter = TokenMixing(num_tokens, token_hidden, num_groups)
        self.norm_post_tokens = nn.LayerNorm(width, eps=norm_eps)
        self.norm_x = nn.LayerNorm(width, eps=norm_eps)
        self.pre_assign_attn = CrossAttentionBlock(width, num_heads, cross_hidden, norm_eps)
        self.assign = Assignment(width, divisor_offset=divisor_offset, hard=hard)
        self.norm_new_x = nn.LayerNorm(width, eps=norm_eps)
        self.mlp_channels = FeedForward(width, channel_hidden)

    def forward(
        self, segments: Float[Tensor, "B N D"], group_tokens: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B G D"], Float[Tensor, "B G N"]]:
        """Group the segments.

        Args:
            segments: Tokens of the image, or the groups of the block before.
            group_tokens: As the transformer left them.

        Returns:
            The groups, and the logits of the assignment without noise: ``soft_assignment`` or
            ``hard_assignment`` of them tells which segment went where.
        """
        segments = self.norm_x(segments)
        groups = self.norm_post_tokens(self.mlp_inter(self.norm_tokens(group_tokens)))
        groups = self.pre_assign_attn(groups, segments)
        merged, logits = self.assign(groups, segments)
        groups = groups + merged
        return groups + self.mlp_channels(self.norm_new_x(groups)), logits
