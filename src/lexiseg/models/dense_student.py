"""DenseStudent: a plain segmenter whose last layer gives an embedding instead of class scores."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from lexiseg.core.interfaces import ParameterGroup
from lexiseg.core.setting_ranges import Range, check_ranges, refuse_remainder
from lexiseg.layers.feature_pyramid import PyramidBackbone
from lexiseg.layers.fused_head import FusedHead

_NOT_DECAYED = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


_RANGES = {
    "width": Range(least=1, most=1_000_000),
    "norm_groups": Range(least=1, most=1_000_000),
    "head_lr_factor": Range(least=0, most=1e6),
}


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """What is trained.

    Attributes:
        width: Of the head.
        norm_groups: Of its normalisation; divides ``width``.
        freeze: Leave the backbone as it is; only the head is trained.
        head_lr_factor: Learning rate of the head, as a factor of the backbone's.
    """

    width: int = 256
    norm_groups: int = 8
    freeze: bool = False
    head_lr_factor: float = 10.0

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="the student")
        refuse_remainder(self, "width", "norm_groups", method="the student")


class DenseStudent(nn.Module):
    """Images to one embedding a position.

    With as many dimensions as there are classes it is a plain segmenter, so that is what one costs.

    Args:
        backbone: Gives the feature maps.
        dimensions: Of an embedding.
        settings: What is trained.
    """

    def __init__(self, backbone: PyramidBackbone, dimensions: int, settings: StudentSettings) -> None:
        super().__init__()
        self.backbone, self.settings, self.dimensions = backbone, settings, dimensions
        self.stride, self.size_divisor = backbone.strides[0], backbone.strides[-1]
        self.head = FusedHead(
            backbone.channels, width=settings.width, outputs=dimensions, norm_groups=settings.norm_groups
        )
        if settings.freeze:
            backbone.requires_grad_(False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the embeddings of RGB images in [0, 1]; neither normalised nor activated."""
        return self.head(self.backbone(images))

    def train(self, mode: bool = True) -> "DenseStudent":
        """Switch to training; a frozen backbone stays in eval mode, its running means too."""
        super().train(mode)
        if self.settings.freeze:
            self.backbone.eval()
        return self

    def parameter_groups(self, prefix: str = "") -> list[ParameterGroup]:
        """Return the parameters to train: the head faster than the backbone, normalisations and biases not decayed."""
        exempt = {
            f"{path}.{name}"
            for path, module in self.named_modules()
            for name, _ in module.named_parameters(recurse=False)
            if isinstance(module, _NOT_DECAYED) or name == "bias"
        }
        groups: dict[tuple[bool, bool], list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                key = name.startswith("head."), name not in exempt
                groups.setdefault(key, []).append((prefix + name, parameter))
        return [
            ParameterGroup(
                parameters=parameters,
                lr_factor=self.settings.head_lr_factor if of_head else 1.0,
                decayed=decayed,
            )
            for (of_head, decayed), parameters in groups.items()
        ]
