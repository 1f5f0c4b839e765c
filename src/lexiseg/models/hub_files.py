"""Which weight files some repositories of the hub hold: what was seen, where and when.

The hub itself could not be reached. What is written here was read in public download lists, cache paths and issue
threads, which name files, sizes and commits. Only what is in this table is recommended by name.
"""

from dataclasses import dataclass

_READ = "2026-11-27"


@dataclass(frozen=True, kw_only=True)
class SeenFiles:
    """Weight files of one repository.

    Attributes:
        weights: Files that hold the whole network in transformers' or diffusers' layout, on the main branch.
        commit: Of the main branch when the files were listed; empty where it was not said.
        converted: Commit of a pull request by the hub's conversion bot that adds safetensors; empty where none was
            seen.
        seen: The day on which that was read.
    """

    weights: tuple[str, ...]
    commit: str = ""
    converted: str = ""
    seen: str = _READ

    @property
    def is_pickle_only(self) -> bool:
        """Return whether the main branch has no safetensors."""
        return not any(file.endswith(".safetensors") for file in self.weights)


FILES_SEEN: dict[str, SeenFiles] = {
    "facebook/dino-vitb16": SeenFiles(
        weights=("pytorch_model.bin",), commit="f205d5d8e640a89a2b8ef0369670dfc37cc07fc2"
    ),
    "facebook/dinov2-base": SeenFiles(
        weights=("model.safetensors", "pytorch_model.bin"), commit="f9e44c814b77203eaa57a6bdbbd535f21ede1415"
    ),
    "facebook/dinov2-with-registers-base": SeenFiles(weights=("model.safetensors",)),
    "facebook/sam-vit-base": SeenFiles(
        weights=("model.safetensors", "pytorch_model.bin"), commit="70c1a07f894ebb5b307fd9eaaee97b9dfc16068f"
    ),
    "facebook/sam2.1-hiera-tiny": SeenFiles(
        weights=("model.safetensors",), commit="de431c4043854a71d8101e17995dfe596bf101a5"
    ),
    "facebook/sam3": SeenFiles(
        weights=("model.safetensors",), commit="3c879f39826c281e95690f02c7821c4de09afae7"
    ),
    "google/siglip-base-patch16-224": SeenFiles(
        weights=("model.safetensors",), commit="7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"
    ),
    "google/siglip-so400m-patch14-384": SeenFiles(weights=("model.safetensors",)),
    "google/siglip2-base-patch16-224": SeenFiles(
        weights=("model.safetensors",), commit="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2"
    ),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": SeenFiles(weights=("model.safetensors",)),
    "openai/clip-vit-base-patch16": SeenFiles(
        weights=("pytorch_model.bin",), commit="57c216476eefef5ab752ec549e440a49ae4ae5f3"
    ),
    "openai/clip-vit-base-patch32": SeenFiles(
        weights=("pytorch_model.bin",),
        commit="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        converted="c237dc49a33fc61debc9276459120b7eac67e7ef",
    ),
    "openai/clip-vit-large-patch14": SeenFiles(
        weights=("model.safetensors", "pytorch_model.bin"), commit="32bd64288804d66eefd0ccbe215aa642df71cc41"
    ),
    "openai/clip-vit-large-patch14-336": SeenFiles(weights=("pytorch_model.bin",)),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": SeenFiles(
        weights=(
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        )
    ),
}

#: Repositories that ask for consent before they give their files, and what can be taken instead.
GATED = {
    "facebook/sam3": "the heads of CLIP, such as --model openai/clip-vit-large-patch14, need no consent",
}

#: Repositories in OpenCLIP's layout alone, as far as was seen: no loader here reads them.
OPENCLIP_ONLY = ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K",)


def how_to_get(name: str) -> str:
    """Return the command that brings a model of the hub to this machine in safetensors.

    Args:
        name: A hub id, with ``@`` and a branch, tag or commit behind it if need be.
    """
    repository, _, revision = name.partition("@")
    if repository in GATED:
        return (
            f"hf auth login, then hf download {name} (its licence must first be accepted on the model's page with "
            f"the same account; without: {GATED[repository]})"
        )
    seen = FILES_SEEN.get(repository)
    if seen is not None and seen.is_pickle_only and not revision:
        return f"lexiseg convert {repository}"
    return f"hf download {repository}" + (f" --revision {revision}" if revision else "")
