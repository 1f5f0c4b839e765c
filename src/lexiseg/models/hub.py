"""Find a checkpoint folder: given directly, in the Hugging Face cache, converted, or downloaded on request.

A repository may hold its weights only as a pickle. The hub's conversion bot then often has an open pull request that
adds safetensors, and transformers takes it without a word. So do we, with one: the revision is said on stderr.
"""

import os
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lexiseg.core.cache_folder import default_cache
from lexiseg.core.errors import CheckpointError, MissingWeightsError
from lexiseg.core.json_text import read_json_file
from lexiseg.models.dinov2_small import NAME as DINOV2_SMALL
from lexiseg.models.dinov2_small import dinov2_small_folder
from lexiseg.models.hub_files import how_to_get
from lexiseg.models.weight_facts import facts_of
from lexiseg.models.weight_files import (
    OPENCLIP_FILES,
    TRANSFORMERS_CLIPS,
    choose_weight_files,
    pickled_weights,
    wanted_weights,
)

#: What is downloaded beside the weights: settings and words; never a pickle, TensorFlow or Flax file.
SETTINGS = re.compile(r"[^/]*\.json|merges\.txt")
#: Longest wait, in seconds, for the hub's first answer.
FIRST_ANSWER_TIMEOUT = 5.0
#: Who converts, and what its pull requests are called: transformers takes no others.
CONVERSION_BOT, CONVERSION_TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"
#: Name of the record that ``lexiseg convert`` leaves in a folder that it wrote.
CONVERSION_RECORD = "converted.json"


@dataclass(frozen=True, kw_only=True)
class KnownWeights:
    """What a person wants to know before a download.

    Attributes:
        model_type: Family of the network, as its config.json says.
        megabytes: Size of the weights.
    """

    model_type: str
    megabytes: int


#: Checkpoints people ask for by name. Sizes are float32 parameters; licences stand in ``weight_facts``.
KNOWN_WEIGHTS: dict[str, KnownWeights] = {
    "google/siglip-base-patch16-224": KnownWeights(model_type="siglip", megabytes=813),
    "google/siglip-so400m-patch14-384": KnownWeights(model_type="siglip", megabytes=3512),
    "google/siglip2-base-patch16-224": KnownWeights(model_type="siglip", megabytes=1501),
    "facebook/sam3": KnownWeights(model_type="sam3_video", megabytes=3440),
    "nvidia/groupvit-gcc-redcaps": KnownWeights(model_type="groupvit", megabytes=223),
    "nvidia/groupvit-gcc-yfcc": KnownWeights(model_type="groupvit", megabytes=223),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": KnownWeights(model_type="clip", megabytes=605),
    "openai/clip-vit-base-patch16": KnownWeights(model_type="clip", megabytes=598),
    "openai/clip-vit-base-patch32": KnownWeights(model_type="clip", megabytes=605),
    "openai/clip-vit-large-patch14": KnownWeights(model_type="clip", megabytes=1710),
    "openai/clip-vit-large-patch14-336": KnownWeights(model_type="clip", megabytes=1712),
}


def resolve_checkpoint(name: str) -> Path:
    """Return the folder of a checkpoint; download only what no earlier download has left behind.

    Args:
        name: A local folder, ``dinov2-small``, or a hub id such as ``openai/clip-vit-base-patch16``, with ``@`` and
            a branch, tag or commit behind it if need be. A folder of that name wins. A copy in the hub's cache, or one that
            ``lexiseg convert`` made, is used without asking the hub.

    Raises:
        MissingWeightsError: Neither a folder nor in the cache, and the hub is off (``HF_HUB_OFFLINE``),
            cannot be reached or has no such model.
        CheckpointError: The hub has the model only as a pickle, or in OpenCLIP's layout.
    """
    folder = Path(os.path.expanduser(name))  # unlike Path.expanduser, leaves an unknown ~user alone
    if os.path.isdir(folder):  # unlike Path.is_dir, no error for names too long for the file system
        return folder
    if name == DINOV2_SMALL:
        return dinov2_small_folder()
    is_file = os.path.exists(folder)
    repository, revision = split_revision(name)
    if is_file or not is_hub_id(name):
        raise MissingWeightsError(
            doing=f"loading the weights of {name}",
            found="a file" if is_file else "no folder of that name",
            expected="a folder with config.json and model.safetensors, or a hub id such as "
            "openai/clip-vit-base-patch16",
            fix="Check the spelling and the folder you are in.",
        )
    found = _on_this_machine(repository, revision)
    if found is not None:
        return found
    return _download(repository, revision)


def split_revision(name: str) -> tuple[str, str | None]:
    """Split ``id@revision``; None where no revision is given."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def is_hub_id(name: str) -> bool:
    """Return whether the hub could have a model of that name: an owner, and what its client accepts."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    repository, _ = split_revision(name)
    try:
        validate_repo_id(repository)
    except HFValidationError:
        return False
    return "/" in repository and not name.endswith("@") and ".." not in name


def is_cached(name: str) -> bool:
    """Return whether an earlier download or conversion of a hub id is complete; the hub is not asked."""
    return _on_this_machine(*split_revision(name), quiet=True) is not None


def converted_folder(repository: str, commit: str) -> Path:
    """Return where ``lexiseg convert`` puts a model of the hub, whether or not it is there."""
    return default_cache() / "weights" / f"{repository.replace('/', '--')}--{commit[:12]}"


def say_revision(repository: str, commit: str, more: str = "") -> None:
    """Print on stderr which revision of a repository is used."""
    print(f"{repository}: revision {commit}{more}", file=sys.stderr)


def _on_this_machine(repository: str, revision: str | None, *, quiet: bool = False) -> Path | None:
    """Look in the hub's cache, then among its bot's conversions there, then among our own."""
    main = _snapshot(repository, revision)
    if main is not None and _is_complete(main):
        return main
    for pull_request in [] if revision else _cached_pull_requests(repository):
        snapshot = _snapshot(repository, pull_request)
        if snapshot is not None and _is_complete(snapshot):
            if not quiet:
                say_revision(repository, snapshot.name, f" ({pull_request}, converted by the hub's bot)")
            return snapshot
    for folder, record in _conversions(repository):
        if revision is None or str(record.get("commit", "")).startswith(revision):
            return folder
        if revision == record.get("revision"):
            return folder
    return None


def _cache_of(repository: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _snapshot(repository: str, revision: str | None) -> Path | None:
    """Find a snapshot in the hub's cache, whole or not.

    The hub's client says that there is none where files are missing that nobody asked for, such as the pickle.
    """
    cache = _cache_of(repository)
    commit, reference = revision, cache / "refs" / (revision or "main")
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8").strip()
    folder = cache / "snapshots" / (commit or "")
    return folder if commit and folder.is_dir() else None


def _cached_pull_requests(repository: str) -> list[str]:
    return sorted(
        f"refs/pr/{file.name}" for file in (_cache_of(repository) / "refs" / "refs" / "pr").glob("*")
    )


def _conversions(repository: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Return what ``lexiseg convert`` made of a repository, newest first."""
    folders = converted_folder(repository, "*")
    found = [
        (file.stat().st_mtime, file) for file in folders.parent.glob(f"{folders.name}/{CONVERSION_RECORD}")
    ]
    for _, file in sorted(found, reverse=True):
        try:
            record = read_json_file(file)
        except (OSError, ValueError):
            continue
        if isinstance(record, dict) and record.get("repository") == repository:
            yield file.parent, record


def _is_complete(folder: Path) -> bool:
    """Return whether a download has nothing left to fetch (whether it is sound is checked later)."""
    if not (folder / "config.json").exists():
        return False
    chosen = choose_weight_files({path.name for path in folder.iterdir()})
    if chosen is None or chosen.index is None:
        return chosen is not None
    try:
        shards = set(read_json_file(folder / chosen.index)["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return True
    return all((folder / str(shard)).exists() for shard in shards)


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download

    cached = _snapshot(repository, revision)
    pickles = pickled_weights({path.name for path in cached.iterdir()}) if cached else []
    name = f"{repository}@{revision}" if revision else repository
    if constants.HF_HUB_OFFLINE:
        if pickles:
            raise _only_pickles(
                name, f"only {', '.join(pickles)} in the hub's cache, and HF_HUB_OFFLINE is set"
            )
        raise _missing(name, cached, "HF_HUB_OFFLINE is set, so the hub was not asked")
    # Whatever the hub's client and its HTTP library raise, a person needs the same answer.
    api, pull_request = HfApi(), None
    try:
        info = api.model_info(repository, revision=revision, timeout=FIRST_ANSWER_TIMEOUT)
    except Exception as error:
        if pickles:
            raise _only_pickles(name, f"only {', '.join(pickles)} in the hub's cache") from error
        raise _missing(name, cached, f"the hub gave no model ({_first_line(error)})") from error
    files = _names(info)
    if choose_weight_files(files) is None:
        pull_request = None if revision else _conversion(api, repository, str(info.sha))
        if pull_request is None:
            raise _no_safetensors(name, files)
        info = api.model_info(repository, revision=pull_request, timeout=FIRST_ANSWER_TIMEOUT)
        files = _names(info)
    said = f" ({pull_request}, converted by the hub's bot; main holds a pickle)" if pull_request else ""
    say_revision(repository, str(info.sha), said)
    wanted = [*filter(SETTINGS.fullmatch, files), *wanted_weights(files)]
    try:
        place = snapshot_download(repository, revision=pull_request or revision, allow_patterns=wanted)
    except Exception as error:
        raise _missing(name, cached, f"the download broke off ({_first_line(error)})") from error
    return Path(place)


def _names(info: Any) -> list[str]:
    return sorted({sibling.rfilename for sibling in info.siblings or [] if "/" not in sibling.rfilename})


def _conversion(api: Any, repository: str, commit: str) -> str | None:
    """Find the open pull request of the hub's bot on top of a commit, as transformers does."""
    try:
        for discussion in api.get_repo_discussions(repository, author=CONVERSION_BOT):
            is_conversion = discussion.is_pull_request and discussion.title == CONVERSION_TITLE
            if is_conversion and discussion.status == "open" and discussion.author == CONVERSION_BOT:
                commits = api.list_repo_commits(repository, revision=discussion.git_reference)
                if [entry.commit_id for entry in commits][1:2] == [commit]:
                    return str(discussion.git_reference)
    except Exception:  # the hub's client raises many kinds; without an answer there is no conversion
        return None
    return None


def _no_safetensors(name: str, files: Collection[str]) -> CheckpointError:
    if pickles := pickled_weights(files):
        return _only_pickles(name, f"no model.safetensors on the hub, only {', '.join(pickles)}")
    theirs = sorted(file for file in files if OPENCLIP_FILES.fullmatch(file))
    return CheckpointError(
        doing=f"downloading the weights of {name}",
        found=f"OpenCLIP's layout ({', '.join(theirs)})" if theirs else "no model.safetensors on the hub",
        expected="transformers' layout: config.json with a model_type, model.safetensors",
        fix=f"Take one that has transformers' layout, such as {' or '.join(TRANSFORMERS_CLIPS)}.",
    )


def _only_pickles(name: str, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"loading the weights of {name}",
        found=found,
        expected="weights in safetensors: a pickle can run code when it is opened and is not loaded here",
        fix=f"Convert it once, where you trust its source: lexiseg convert {name}",
    )


def _missing(name: str, cached: Path | None, hub: str) -> MissingWeightsError:
    from huggingface_hub import constants

    known = KNOWN_WEIGHTS.get(split_revision(name)[0])
    about = (
        f"about {known.megabytes} MB, licence {facts_of(name).licence}"
        if known
        else "size and licence on its hub page"
    )
    in_cache = "an unfinished download" if cached else "no copy"
    return MissingWeightsError(
        doing=f"loading the weights of {name}",
        found=f"no folder of that name, {in_cache} in {constants.HF_HUB_CACHE}, and {hub}",
        expected="config.json, model.safetensors, tokenizer.json and preprocessor_config.json "
        f"of {name} ({about})",
        fix=f"With a network, run: {how_to_get(name)}. Without, run that elsewhere and copy the folder that it "
        "fills here (HF_HOME or LEXISEG_CACHE say where it is), or copy the model's folder and give its path "
        "instead of the name.",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
