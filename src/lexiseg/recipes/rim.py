"""rim: class names only, through a bank of reference images.

The bank says which image encoder it was built with, and that one is loaded. Measured in
benchmarks/accuracy/rim.md.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from lexiseg.core.errors import InputError, MissingWeightsError, UnknownNameError
from lexiseg.core.interfaces import ImageEncoder, MaskProposer
from lexiseg.inference.segmenter import Segmenter
from lexiseg.inference.settings import InferenceSettings
from lexiseg.methods.rim.references.bank import ReferenceBank, describe_encoder
from lexiseg.methods.rim.references.cutouts import CutoutSource
from lexiseg.methods.rim.references.generated import GeneratedSource
from lexiseg.methods.rim.references.own_folder import FolderSource
from lexiseg.methods.rim.references.sources import ReferenceSource
from lexiseg.methods.rim.segmenter import RIM
from lexiseg.methods.rim.settings import CLASSICAL_PROPOSER, RECORDED, RIMSettings
from lexiseg.models.checkpoint import fingerprint, read_config
from lexiseg.models.dinov2_small import NAME as DINOV2_SMALL
from lexiseg.models.efficientnet_lite import load_efficientnet_lite0
from lexiseg.models.hub import resolve_checkpoint
from lexiseg.models.mask_generator import MaskGenerator, MaskGeneratorSettings
from lexiseg.models.prompted_masks import PromptedMasks
from lexiseg.models.stable_diffusion import GeneratedImage, StableDiffusion, load_stable_diffusion
from lexiseg.ops.prompt_points import prompt_points
from lexiseg.ops.salient_object import salient_object

#: What ``--source`` takes.
SOURCES = ("cutouts", "folder", "generate")

PROMPT = "a photo of a {}"


class DiffusionGenerator:
    """Stable Diffusion with one prompt, as a source of images.

    Args:
        model: Draws the images.
        name: What it was loaded from, for the record.
        steps: Number of denoising steps; 50 in the paper.
        guidance: Scale of classifier-free guidance.
    """

    def __init__(self, model: StableDiffusion, *, name: str, steps: int = 50, guidance: float = 7.5) -> None:
        self.model, self.steps, self.guidance = model, steps, guidance
        self._facts = {
            "name": name,
            "fingerprint": fingerprint(model),
            "prompt": PROMPT,
            "steps": steps,
            "guidance": guidance,
        }

    def facts(self) -> Mapping[str, Any]:
        """Return model, hash, prompt, steps and guidance."""
        return self._facts

    def generate(self, class_name: str, seed: int) -> GeneratedImage:
        """Draw "a photo of a" class and record where its words went."""
        return self.model.generate(
            PROMPT.format(class_name), class_name, seed=seed, steps=self.steps, guidance=self.guidance
        )


def build_source(
    name: str,
    path: Path | None,
    *,
    generator: str | None = None,
    sam: str | None = None,
    steps: int = 50,
    seed: int = 0,
    device: torch.device | None = None,
) -> ReferenceSource:
    """Build a source of reference images.

    Args:
        name: ``cutouts``, ``folder`` or ``generate``.
        path: For ``cutouts`` and ``folder``: where the images are.
        generator: For ``generate``: a Stable Diffusion folder.
        sam: For ``generate``, and for images of ``folder`` without masks: a SAM checkpoint.
        steps: For ``generate``: denoising steps.
        seed: For ``generate``.
        device: Where networks run; the CPU if left out.

    Raises:
        InputError: Something that the source needs is not given.
        UnknownNameError: There is no such source.
        DatasetError: The path has no images of that kind.
        WeightsError: A checkpoint is missing or cannot be used.
        MissingPackageError: diffusers is not installed.
    """
    if name not in SOURCES:
        raise UnknownNameError.of("source of reference images", name, SOURCES)
    device = device or torch.device("cpu")
    if name == "generate":
        if generator is None or sam is None:
            option = "--generator" if generator is None else "--sam"
            raise _not_given(name, f"{option}, a checkpoint", f"Give it with {option} FOLDER.")
        diffusion = DiffusionGenerator(
            load_stable_diffusion(_folder(generator)).to(device), name=generator, steps=steps
        )
        segmenter = load_prompted(sam).to(device)
        facts = {"name": sam, "fingerprint": fingerprint(segmenter)}
        return GeneratedSource(diffusion, segmenter, segmenter_facts=facts, seed=seed)
    if path is None:
        raise _not_given(name, "where the images are", "Give it with --from PATH.")
    if name == "cutouts":
        return CutoutSource(path)
    if sam is None:
        return FolderSource(path, salient_object, found_by="contrast with the rim of the image")
    prompted = load_prompted(sam).to(device)

    def find_object(image: UInt8[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
        return object_at_salient_points(prompted, image)

    return FolderSource(path, find_object, found_by=f"{sam} {fingerprint(prompted)}, from salient points")


def object_at_salient_points(
    segmenter: PromptedMasks, image: UInt8[np.ndarray, "H W 3"]
) -> Bool[np.ndarray, "H W"]:
    """Prompt SAM with points of the most salient object, or with the centre where nothing stands out."""
    points, _ = prompt_points(salient_object(image))
    if not len(points):
        points = np.array([[image.shape[0] // 2, image.shape[1] // 2]])
    return segmenter.masks_at(image, points[:, ::-1] + 0.5).masks[0]


def load_prompted(name: str) -> PromptedMasks:
    """Load SAM or SAM 2 from a folder or the hub.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    folder = resolve_checkpoint(name)
    if read_config(folder, ("sam", "sam2", "sam2_video"))["model_type"] != "sam":
        from lexiseg.models.sam2 import load_sam2

        return load_sam2(folder)
    from lexiseg.models.sam import load_sam

    return load_sam(folder)


def _folder(name: str) -> Path:
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        raise MissingWeightsError(
            doing=f"loading the generator {name}",
            found="no folder of that name",
            expected="a Stable Diffusion folder in the layout of diffusers (unet, vae, text_encoder, tokenizer, scheduler)",
            fix=f"Fetch it first: hf download {name} --local-dir FOLDER --include '*/*.json' '*/*.txt' "
            "'text_encoder/model.safetensors' '*/diffusion_pytorch_model.safetensors', then give the folder.",
        )
    return folder


def _not_given(source: str, expected: str, fix: str) -> InputError:
    return InputError(doing=f"opening the source {source}", found="nothing given", expected=expected, fix=fix)


#: The encoder that comes through pip.
MINI_ENCODER = "mini"

NOTICE = "rim's matching formula is a reconstruction: the paper's idea is public, its equations were not readable to us."
MINI_NOTICE = (
    " With mini's image encoder it is a floor; DINOv2 references are the method: "
    "lexiseg references build --encoder facebook/dinov2-large."
)


def load_reference_encoder(name: str) -> tuple[ImageEncoder, int]:
    """Load an image encoder for references, and return the short side it likes to see.

    Args:
        name: ``mini``, ``dinov2-small``, or the hub id or folder of a DINOv2, plain ViT (DINO) or CLIP checkpoint.

    Raises:
        MissingWeightsError: The weights are not here and cannot be fetched.
        CheckpointError: They are here and cannot be used.
    """
    if name == MINI_ENCODER:
        return load_efficientnet_lite0(), 448
    folder = resolve_checkpoint(name)
    kind = read_config(folder, ("dinov2", "dinov2_with_registers", "vit", "clip"))["model_type"]
    if kind == "clip":
        from lexiseg.models.clip import load_clip

        return load_clip(folder)[0], 448
    if kind == "vit":
        from lexiseg.models.dino import load_dino

        return load_dino(folder), 448
    from lexiseg.models.dinov2 import load_dinov2

    return load_dinov2(folder), 518


def load_proposer(
    name: str, encoder: ImageEncoder, *, settings: MaskGeneratorSettings | None = None
) -> MaskProposer:
    """Load what cuts images into regions.

    Args:
        name: ``classical`` (superpixels merged by colour and by ``encoder``'s features; no weights),
            ``dinov2-small`` (the same with that network's features, whatever ``encoder`` is), or the hub id or
            folder of a SAM or SAM 2 checkpoint.
        encoder: For ``classical``.
        settings: Of SAM's mask generator; None for its defaults.

    Raises:
        MissingWeightsError: The weights, or a package, are not here.
        CheckpointError: The weights cannot be used.
    """
    if name == CLASSICAL_PROPOSER:
        from lexiseg.models.region_proposer import RegionProposer

        return RegionProposer(encoder)
    if name == DINOV2_SMALL:
        from lexiseg.models.dinov2 import load_dinov2
        from lexiseg.models.region_proposer import DINOV2_REGIONS, RegionProposer

        return RegionProposer(load_dinov2(resolve_checkpoint(name)), DINOV2_REGIONS)
    return MaskGenerator(load_prompted(name), settings)


def build_rim(references: str | os.PathLike[str], method: RIMSettings | None = None) -> Segmenter:
    """Open a bank, load its encoder and a proposer.

    Args:
        references: The bank, written by ``lexiseg references build``; its path names the model.
        method: How regions are made and matched; None for the defaults.

    Raises:
        DatasetError: The bank is absent, half-written or built with another encoder.
        MissingWeightsError: Weights are not here; for the encoder, with what the bank knows of it.
    """
    method = method or RIMSettings()
    bank = ReferenceBank(Path(references).expanduser())
    name = method.encoder if method.encoder != RECORDED else bank.encoder["name"]
    try:
        encoder, _ = load_reference_encoder(name)
    except MissingWeightsError as error:
        raise MissingWeightsError(
            doing=f"loading the image encoder of the bank {references}: {error.doing}",
            found=error.found,
            expected=f"the encoder it was built with: {describe_encoder(bank.encoder)}",
            fix=f"Say where it lies now: --set encoder=FOLDER (any name or folder whose weights have the fingerprint "
            f"{bank.encoder['fingerprint'][:12]}). {error.fix}",
        ) from error
    model = RIM(
        bank,
        encoder,
        load_proposer(method.proposer, encoder, settings=method.mask_generator),
        encoder_fingerprint=fingerprint(encoder),
        proposer_facts={"name": method.proposer},
        settings=InferenceSettings(
            short_side=bank.encoder["short_side"], max_long_side=3 * bank.encoder["short_side"], refine="none"
        ),
        method=method,
        notice=NOTICE + (MINI_NOTICE if name == MINI_ENCODER else ""),
    )
    model.name = str(references)
    return model
