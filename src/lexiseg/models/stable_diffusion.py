"""Stable Diffusion: images of a class from its name, with a map of where the name landed.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022; sampled with DDIM
(Song et al., ICLR 2021). Versions 1.x and 2.x, as diffusers has them, in folders of the hub's layout.

Differences from diffusers' pipeline: the networks are read whole or not at all, nothing is downloaded,
the sampler is always DDIM, the cross-attention to the class name is recorded, and there is no filter of
unsafe images, which answers with black ones. An image may still be black: ``is_black`` tells.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float32, UInt8
from tokenizers import Tokenizer
from torch import nn

from lexiseg.core.errors import CheckpointError, MissingPackageError, VocabularyError
from lexiseg.models.checkpoint import build_model, read_config, read_json, transformers_class
from lexiseg.models.cross_attention import CrossAttentionRecorder
from lexiseg.models.published_names import published_names
from lexiseg.models.text_tokens import check_vocabulary_size, load_tokenizer, pad, special_token_id, tokenize
from lexiseg.models.weight_files import describe_folder

_STEM = "diffusion_pytorch_model"
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """An image and where the class name landed in it.

    Attributes:
        image: RGB.
        attention: Mean cross-attention to the class name at the latent's size; not normalised.
        seed: What it was drawn with.
    """

    image: UInt8[np.ndarray, "H W 3"]
    attention: Float32[np.ndarray, "h w"]
    seed: int

    @property
    def is_black(self) -> bool:
        """Return whether the image is empty: no reference can be made of it."""
        return bool(self.image.max() < 8)


class StableDiffusion(nn.Module):
    """Text to images.

    Args:
        denoiser: diffusers' ``UNet2DConditionModel``.
        decoder: diffusers' ``AutoencoderKL``.
        text: transformers' ``CLIPTextModel``.
        tokenizer: The checkpoint's own.
        scheduler: diffusers' ``DDIMScheduler``.
        pad_id: Token to fill prompts up with.
    """

    def __init__(
        self, denoiser: Any, decoder: Any, text: Any, *, tokenizer: Tokenizer, scheduler: Any, pad_id: int
    ) -> None:
        super().__init__()
        self.denoiser, self.decoder, self.text = denoiser, decoder, text
        self.tokenizer, self.scheduler, self.pad_id = tokenizer, scheduler, pad_id
        self.max_tokens = int(text.config.max_position_embeddings)
        self.latent_side = int(denoiser.config.sample_size)
        self.pixels_per_latent = 2 ** (len(decoder.config.block_out_channels) - 1)

    @torch.inference_mode()
    def generate(
        self,
        prompt: str,
        name: str,
        *,
        seed: int,
        steps: int = 50,
        guidance: float = 7.5,
        tokens: Literal["all", "last word"] = "all",
    ) -> GeneratedImage:
        """Draw one image at the checkpoint's own size; every step runs the denoiser on a pair.

        Args:
            prompt: Contains ``name``.
            name: The class whose attention is recorded.
            seed: Equal seeds give equal images on one device.
            steps: Number of denoising steps.
            guidance: Weight of classifier-free guidance (Ho and Salimans, 2022).
            tokens: Record all of the name, or the word it ends with (most often its noun).

        Raises:
            VocabularyError: The prompt is longer than the network reads, or does not contain the name.
        """
        place = self.denoiser.conv_in.weight.device
        recorder = CrossAttentionRecorder(
            self.name_tokens(prompt, name if tokens == "all" else name.split()[-1]),
            (self.latent_side, self.latent_side),
        )
        encoded = tokenize(self.tokenizer, ["", prompt], max_tokens=self.max_tokens)
        ids = pad(encoded, pad_id=self.pad_id, length=self.max_tokens).to(place)
        texts = self.text(input_ids=ids).last_hidden_state
        shape = (1, self.denoiser.config.in_channels, self.latent_side, self.latent_side)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        latent = noise.to(place) * self.scheduler.init_noise_sigma
        self.scheduler.set_timesteps(steps)
        with recorder.watching(self.denoiser):
            for step in self.scheduler.timesteps:
                pair = self.scheduler.scale_model_input(torch.cat([latent, latent]), step)
                without, with_prompt = self.denoiser(pair, step, encoder_hidden_states=texts).sample.chunk(2)
                guided = without + guidance * (with_prompt - without)
                latent = self.scheduler.step(guided, step, latent).prev_sample
        decoded = self.decoder.decode(latent / self.decoder.config.scaling_factor).sample
        pixels = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return GeneratedImage(
            image=rearrange(pixels, "1 c h w -> h w c").cpu().numpy(),
            attention=recorder.heat_map().numpy(),
            seed=seed,
        )

    def name_tokens(self, prompt: str, name: str) -> list[int]:
        """Return the positions of the tokens of ``name`` in ``prompt``, start token included in the count.

        Raises:
            VocabularyError: The prompt is too long or does not contain the name.
        """
        whole, part = tokenize(self.tokenizer, [prompt, name], max_tokens=self.max_tokens)
        part = part[1:-1]
        for start in range(len(whole) - len(part) + 1):
            if part and whole[start : start + len(part)] == part:
                return list(range(start, start + len(part)))
        raise VocabularyError(
            doing=f"looking for {name!r} in the prompt {prompt!r}",
            found="no such words",
            expected="a prompt that contains the name of the class",
            fix="Put {} where the name belongs, as in 'a photo of a {}'.",
        )


def load_stable_diffusion(folder: Path) -> StableDiffusion:
    """Load a Stable Diffusion 1.x or 2.x checkpoint: a folder in the layout of diffusers.

    Raises:
        MissingPackageError: diffusers is not installed.
        CheckpointError: The folder is incomplete, contradicts itself or is unsafe to load.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise MissingPackageError.of("diffusers", doing="loading Stable Diffusion", extra="diffusion")
    _refuse_other_folders(folder)
    import diffusers

    denoiser_config, decoder_config = (read_json(folder / part, "config.json") for part in ("unet", "vae"))
    text_config = read_config(folder / "text_encoder", ("clip_text_model",))
    config_class, text_class = transformers_class("CLIPTextConfig"), transformers_class("CLIPTextModel")
    denoiser = build_model(
        folder / "unet",
        lambda: diffusers.UNet2DConditionModel.from_config(denoiser_config),
        stem=_STEM,
    )
    decoder = build_model(
        folder / "vae",
        lambda: diffusers.AutoencoderKL.from_config(decoder_config),
        stem=_STEM,
        targets=published_names("autoencoder"),
    )
    text = build_model(
        folder / "text_encoder",
        lambda: text_class(config_class.from_dict(text_config)),
        targets=published_names("clip_text"),
    )
    tokenizer = load_tokenizer(folder / "tokenizer")
    check_vocabulary_size(folder / "tokenizer", tokenizer, text.config.vocab_size)
    scheduler = diffusers.DDIMScheduler.from_config(read_json(folder / "scheduler", "scheduler_config.json"))
    pad_id = special_token_id(folder / "tokenizer", tokenizer, "pad_token")
    model = StableDiffusion(denoiser, decoder, text, tokenizer=tokenizer, scheduler=scheduler, pad_id=pad_id)
    return model.eval()


def _refuse_other_folders(folder: Path) -> None:
    """Say what a folder is that is no pipeline, before one of its parts is found to be missing."""
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if missing:
        kind = describe_folder(folder)
        raise CheckpointError(
            doing=f"loading Stable Diffusion from {folder}",
            found=kind or f"no folder {', '.join(missing)}",
            expected=f"a pipeline of diffusers, with the folders {', '.join(_PARTS)}",
            fix="Choose a folder such as that of stable-diffusion-v1-5/stable-diffusion-v1-5.",
        )
