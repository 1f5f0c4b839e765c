"""Find a checkpoint folder: given directly, in the Hugging Face cache, or downloaded on request."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.models.dinov2_small import NAME as DINOV2_SMALL
from lexiseg.models.dinov2_small import dinov2_small_folder

#: What is downloaded: settings, words and safetensors; never a pickle, TensorFlow or Flax file.
FILES = (
    "*.json",
    "merges.txt",
    "model.safetensors",
    "model-*-of-*.safetensors",
)
#: Longest wait, in seconds, for the hub's first answer.
FIRST_ANSWER_TIMEOUT = 5.0


@dataclass(frozen=True, kw_only=True)
class KnownWeights:
    """What a person wants to know before a download.

    Attributes:
        model_type: Family of the network, as its config.json says.
        megabytes: Size of the weights.
        licence: Licence of the weights.
    """

    model_type: str
    megabytes: int
    licence: str


#: Checkpoints people ask for by name. Sizes are float32 parameters; licences as the publishers give them.
KNOWN_WEIGHTS: dict[str, KnownWeights] = {
    "google/siglip-base-patch16-224": KnownWeights(model_type="siglip", megabytes=813, licence="Apache-2.0"),
    "google/siglip-so400m-patch14-384": KnownWeights(
        model_type="siglip", megabytes=3512, licence="Apache-2.0"
    ),
    "google/siglip2-base-patch16-224": KnownWeights(
        model_type="siglip", megabytes=1501, licence="Apache-2.0"
    ),
    "google/siglip2-base-patch16-naflex": KnownWeights(
        model_type="siglip2", megabytes=1501, licence="Apache-2.0"
    ),
    "nvidia/groupvit-gcc-redcaps": KnownWeights(
        model_type="groupvit", megabytes=223, licence="CC-BY-NC-SA-4.0"
    ),
    "nvidia/groupvit-gcc-yfcc": KnownWeights(model_type="groupvit", megabytes=223, licence="CC-BY-NC-SA-4.0"),
    "laion/CLIP-ViT-B-16-laion2B-s34B-b88K": KnownWeights(model_type="clip", megabytes=598, licence="MIT"),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": KnownWeights(model_type="clip", megabytes=605, licence="MIT"),
    "openai/clip-vit-base-patch16": KnownWeights(model_type="clip", megabytes=598, licence="MIT"),
    "openai/clip-vit-base-patch32": KnownWeights(model_type="clip", megabytes=605, licence="MIT"),
    "openai/clip-vit-large-patch14": KnownWeights(model_type="clip", megabytes=1710, licence="MIT"),
    "openai/clip-vit-large-patch14-336": KnownWeights(model_type="clip", megabytes=1712, licence="MIT"),
}


def resolve_checkpoint(name: str) -> Path:
    """Return the folder of a checkpoint; downloads only what no earlier download has left behind.

    Args:
        name: A local folder, ``dinov2-small``, or a hub id such as ``openai/clip-vit-base-patch16``. A folder
            of that name wins. A copy in the hub's cache is used without asking the hub.

    Raises:
        MissingWeightsError: Neither a folder nor in the cache, and the hub is off (``HF_HUB_OFFLINE``),
            cannot be reached or has no such model.
        CheckpointError: The hub has the model only as a pickle.
    """
    folder = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves an unknown ~user alone
    if os.path.isdir(folder):  # unlike Path.is_dir, no error for names too long for the file system
        return folder
    if name == DINOV2_SMALL:
        return dinov2_small_folder()
    is_file = os.path.exists(folder)
    if is_file or not _is_hub_id(name):
        raise MissingWeightsError(
            doing=f"loading the weights of {name}",
            found="a file" if is_file else "no folder of that name",
            expected="a folder with config.json and model.safetensors, or a hub id such as "
            "openai/clip-vit-base-patch16",
            fix="Check the spelling and the folder you are in.",
        )
    cached = _snapshot(name)
    if cached is not None and _is_complete(cached):
        return cached
    return _download(name, "an unfinished download" if cached else "no copy")


def is_cached(name: str) -> bool:
    """Return whether an earlier download of a hub id is complete; the hub is not asked."""
    cached = _snapshot(name)
    return cached is not None and _is_complete(cached)


def _is_hub_id(name: str) -> bool:
    """Return whether the hub could have a model of that name: an owner, and what its client accepts."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def _snapshot(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _is_complete(folder: Path) -> bool:
    """Return whether a download has nothing left to fetch (whether it is sound is checked later)."""
    if not (folder / "config.json").exists():
        return False
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, RecursionError):
            return True
        return all((folder / str(shard)).exists() for shard in shards)
    return (folder / "model.safetensors").exists() or any(folder.glob("*.bin"))


def _download(name: str, in_cache: str) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise _missing(name, in_cache, "HF_HUB_OFFLINE is set, so the hub was not asked")
    # Whatever the hub's client and its HTTP library raise, a person needs the same answer.
    try:
        info = HfApi().model_info(name, timeout=FIRST_ANSWER_TIMEOUT)
    except Exception as error:
        raise _missing(name, in_cache, f"the hub gave no model ({_first_line(error)})") from error
    files = [sibling.rfilename for sibling in info.siblings or []]
    if not any(re.fullmatch(r"model(-.*)?\.safetensors", file) for file in files):
        pickles = [file for file in files if file.endswith((".bin", ".pt", ".pth"))]
        raise CheckpointError(
            doing=f"downloading the weights of {name}",
            found=f"no model.safetensors on the hub{', only ' + ', '.join(pickles) if pickles else ''}",
            expected="weights in safetensors: pickles can run code and are never loaded",
            fix="Choose a checkpoint with model.safetensors, or download this one yourself, convert it where "
            "you trust it, and give the folder's path.",
        )
    try:
        return Path(snapshot_download(name, revision=info.sha, allow_patterns=list(FILES)))
    except Exception as error:
        raise _missing(name, in_cache, f"the download broke off ({_first_line(error)})") from error


def _missing(name: str, in_cache: str, hub: str) -> MissingWeightsError:
    from huggingface_hub import constants

    known = KNOWN_WEIGHTS.get(name)
    about = (
        f"about {known.megabytes} MB, licence {known.licence}"
        if known
        else "size and licence on its hub page"
    )
    return MissingWeightsError(
        doing=f"loading the weights of {name}",
        found=f"no folder of that name, {in_cache} in {constants.HF_HUB_CACHE}, and {hub}",
        expected="config.json, model.safetensors, tokenizer.json and preprocessor_config.json "
        f"of {name} ({about})",
        fix=f"With a network, run: hf download {name}. Without, run that elsewhere and copy its cache folder "
        "here (HF_HOME says where it is), or copy the model's folder and give its path instead of the name.",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
