"""Read a checkpoint folder whole or not at all.

transformers fills missing tensors with random numbers and goes on. Here a model is built without
memory, every tensor is compared with the files by name and shape, and only a complete set is put in.
"""

import hashlib
import importlib.util
import shlex
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lexiseg.core.errors import CheckpointError, WeightsError
from lexiseg.core.json_text import read_json_file
from lexiseg.models.config_sizes import absurd_size
from lexiseg.models.meta_networks import fill_position_ids, quiet_transformers
from lexiseg.models.weight_files import (
    TRANSFORMERS_CLIPS,
    choose_weight_files,
    describe_folder,
    describe_type,
    example_of,
    pickled_weights,
)

_FLOATS = ("F64", "F32", "F16", "BF16")
_SHOWN = 6

Model = TypeVar("Model", bound=nn.Module)


def read_config(folder: Path, supported: Collection[str]) -> dict[str, Any]:
    """Read ``config.json`` and check its ``model_type``.

    Raises:
        CheckpointError: The file is absent or is not an object in JSON, its type is not supported,
            or a file of the folder is a link that leaves it.
    """
    if folder.is_dir():
        _refuse_links_that_leave(folder)
    config = read_json(folder, "config.json")
    if config.get("model_type") not in supported:
        raise CheckpointError(
            doing=f"reading {folder / 'config.json'}",
            found=describe_type(config.get("model_type")),
            expected=f"one of: {', '.join(sorted(supported))}",
            fix=f"Choose a checkpoint of one of these types, such as {example_of(supported)}.",
        )
    if absurd := absurd_size(config):
        raise _unreadable(folder / "config.json", absurd)
    return config


def read_json(folder: Path, file: str) -> dict[str, Any]:
    """Read one settings file of a checkpoint.

    Raises:
        CheckpointError: It is absent, is not JSON, or is not an object.
    """
    path = folder / file
    try:
        content = read_json_file(path)
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise _unreadable(path, f"no folder {folder.name}") from error
        _refuse_openclip(folder)
        present = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        kind = describe_folder(folder)
        raise _unreadable(
            path, f"no such file (the folder {f'is {kind}; it ' if kind else ''}holds: {present})"
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(path, f"text that cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise _unreadable(path, f"a JSON {type(content).__name__}")
    return content


def read_class_names(config: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Read ``id2label`` of a ``config.json``; several names of one class are one string, as the hub has them.

    Raises:
        CheckpointError: There is none, or its keys are not 0, 1, 2, ….
    """
    labels = config.get("id2label")
    found = "no id2label"
    if isinstance(labels, dict) and labels:
        try:
            by_index = {int(index): str(name) for index, name in labels.items()}
        except ValueError as error:
            found = f"an id2label whose keys are not numbers ({error})"
        else:
            if sorted(by_index) == list(range(len(by_index))):
                return tuple(by_index[index] for index in range(len(by_index)))
            found = f"an id2label with the numbers {sorted(by_index)[:8]} …"
    raise CheckpointError(
        doing=f"reading {folder / 'config.json'}",
        found=found,
        expected="id2label: the name of every class by its number, from 0 on",
        fix="Download the checkpoint again, or choose one that segments and says what its classes are called.",
    )


def no_other_names(name: str) -> tuple[str, ...]:
    """Map a tensor to the same name: it is called the same in the file and in the network."""
    return (name,)


def build_model(
    folder: Path,
    build: Callable[[], Model],
    *,
    targets: Callable[[str], tuple[str, ...]] = no_other_names,
    tied: Mapping[str, str] | None = None,
    stem: str = "model",
    fill_buffers: Callable[[Model], None] | None = None,
) -> Model:
    """Build a network and fill every tensor from the folder's safetensors.

    Args:
        folder: Checkpoint in hub layout.
        build: Makes the network; called with the meta device, so it costs no memory.
        targets: From a tensor's name in the file to its names in the network: older files call some
            parts otherwise, or keep in one tensor what are equal parts along the first axis here. No
            name at all for a tensor that the network leaves out.
        tied: From a name to the one whose tensor it shares; files may hold either or both.
        stem: The weights are in ``<stem>.safetensors``, in shards with an index, or in a half-precision copy of these.
        fill_buffers: Gives values to buffers that no file holds, as they follow from the settings; position ids that
            count 0, 1, 2, … are filled in without it.

    Returns:
        The network in float32, in evaluation mode, without gradients.

    Raises:
        CheckpointError: ``config.json`` describes no possible network, a tensor holds NaN or infinity,
            or see ``check_checkpoint``.
    """
    try:
        with quiet_transformers(), torch.device("meta"):
            model = build()
    except Exception as error:  # transformers checks some fields and divides by others
        raise _unreadable(folder / "config.json", f"settings that make no network ({error})") from error
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    files = check_checkpoint(folder, expected, targets=targets, tied=tied, stem=stem)
    if fill_buffers is not None:
        fill_buffers(model)
    return fill_model(folder, model, files, targets=targets, tied=tied)


def fill_model(
    folder: Path,
    model: Model,
    files: Mapping[str, Path],
    *,
    targets: Callable[[str], tuple[str, ...]] = no_other_names,
    tied: Mapping[str, str] | None = None,
) -> Model:
    """Fill a network that has no memory with the tensors that ``check_checkpoint`` found to fit it.

    Args:
        folder: For messages.
        model: On the meta device.
        files: The file of every tensor, by its name in the file.
        targets: See ``build_model``.
        tied: See ``build_model``.

    Raises:
        CheckpointError: A tensor holds NaN or infinity.
    """
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(files.values())):
        with safe_open(file, framework="pt") as opened:
            for stored in (stored for stored, home in files.items() if home == file):
                names = targets(stored)
                tensor = opened.get_tensor(stored).to(torch.float32)
                parts = [part.contiguous() for part in tensor.chunk(len(names))] if names[1:] else [tensor]
                tensors.update(zip(names, parts, strict=True))
    for name, twin in (tied or {}).items():
        shared = tensors[twin] if twin in tensors else tensors[name]
        tensors[name] = tensors[twin] = shared
    _refuse_not_finite(folder, tensors)
    model.load_state_dict(tensors, strict=True, assign=True)
    fill_position_ids(model)
    return model.eval().requires_grad_(False)


def check_checkpoint(
    folder: Path,
    expected: Mapping[str, tuple[int, ...]],
    *,
    targets: Callable[[str], tuple[str, ...]] = no_other_names,
    tied: Mapping[str, str] | None = None,
    stem: str = "model",
) -> dict[str, Path]:
    """Compare the tensors in a folder with those a network needs, reading only the files' headers.

    Args:
        folder: Holds ``model.safetensors``, shards with an index, or a half-precision copy of these.
        expected: Shape of every tensor by name.
        targets: See ``build_model``.
        tied: See ``build_model``.
        stem: See ``build_model``.

    Returns:
        The file of every tensor that is needed, by its name in the file.

    Raises:
        CheckpointError: No safetensors (a pickle is never loaded), a file is cut off or missing, a
            link leaves the folder, or a tensor is missing, superfluous, mis-shaped, not a float or in
            two files.
    """
    _refuse_links_that_leave(folder)
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    files: dict[str, Path] = {}
    problems = []
    for file in _weight_files(folder, stem):
        try:
            with safe_open(file, framework="pt") as opened:
                for stored in opened.keys():  # noqa: SIM118
                    part, names = opened.get_slice(stored), targets(stored)
                    shape = tuple(part.get_shape())
                    if len(names) > 1 and shape[0] % len(names) == 0:
                        shape = (shape[0] // len(names), *shape[1:])
                    found.update(dict.fromkeys(names, (shape, part.get_dtype())))
                    if stored in files:
                        problems.append(f"{stored}: in {files[stored].name} and in {file.name}")
                    if set(names) & expected.keys():
                        files[stored] = file
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                doing=f"reading {file}",
                found=f"{file.stat().st_size:,} bytes that are not whole ({error})"
                if file.exists()
                else "no such file, though the index lists it",
                expected="a complete safetensors file",
                fix="Download or copy it again; the last attempt may have been cut off.",
            ) from error

    twins = {**(tied or {}), **{twin: name for name, twin in (tied or {}).items()}}
    for name, shape in expected.items():
        if name not in found and twins.get(name) in found:
            continue
        there, kind = found.get(name, (None, ""))
        if there is None:
            problems.append(f"{name}: file nothing, model {shape}")
        elif there != shape:
            problems.append(f"{name}: file {there}, model {shape}")
        elif kind not in _FLOATS:
            problems.append(f"{name}: file {kind} numbers, model one of {', '.join(_FLOATS)}")
    problems += [
        f"{name}: file {found[name][0]}, model nothing" for name in sorted(found.keys() - expected.keys())
    ]
    if problems:
        more = f"\n  … and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(
            doing=f"comparing the tensors in {folder} with its config.json",
            found=f"{len(problems)} that do not fit:\n  " + "\n  ".join(problems[:_SHOWN]) + more + "\n",
            expected="every tensor of the model once, in its shape",
            fix="Download the checkpoint again, or take config.json and the weights from the same place; "
            "nothing was loaded.",
        )
    return files


def transformers_class(name: str) -> Any:
    """Import a class of transformers, at the moment it is needed: that costs some three seconds.

    Raises:
        WeightsError: transformers cannot give it, most often because of a broken torchvision.
    """
    import transformers

    try:
        return getattr(transformers, name)
    except Exception as error:  # a broken torchvision shows as several kinds
        problem = torchvision_problem()
        raise WeightsError(
            doing=f"importing {name} from transformers {transformers.__version__}",
            found=f"a torchvision that does not work ({problem})" if problem else str(error),
            expected="transformers 5 with no torchvision, or with one that fits the installed torch",
            fix="Run: pip uninstall torchvision" if problem else "Install the versions of constraints.txt.",
        ) from error


def torchvision_problem() -> str | None:
    """Return why an installed torchvision cannot be imported; None where it works or is absent.

    transformers looks only whether torchvision is present, and with a broken one none of its models
    can be imported.
    """
    if importlib.util.find_spec("torchvision") is None:
        return None
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # its compiled parts raise RuntimeError, OSError or ImportError
        return f"{type(error).__name__}: {error}"
    return None


def fingerprint(module: nn.Module, *more: str) -> str:
    """Hash a network's tensors, and what else decides its output, into 64 hex digits.

    The file layout does not matter. Costs about 0.2 s for every 250 MB.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for text in more:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _weight_files(folder: Path, stem: str) -> list[Path]:
    present = {path.name for path in folder.iterdir()}
    chosen = choose_weight_files(present, stem)
    if chosen is not None and chosen.variant is not None:
        warnings.warn(
            f"{folder} has its weights only as a {chosen.variant} copy; they are read into float32",
            stacklevel=2,
        )
    if chosen is not None and chosen.index is not None:
        shards = read_json(folder, chosen.index).get("weight_map")
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        if not names or any(Path(name).name != name for name in names):
            raise _unreadable(folder / chosen.index, "no weight_map from tensors to files of this folder")
        return [folder / name for name in names]
    if chosen is not None and chosen.single is not None:
        return [folder / chosen.single]
    single, pickles = folder / f"{stem}.safetensors", pickled_weights(present)
    if not pickles:
        _refuse_openclip(folder)
        raise _unreadable(single, "no such file")
    raise CheckpointError(
        doing=f"looking for weights in {folder}",
        found=f"only {', '.join(pickles)}, which {'is a pickle' if len(pickles) == 1 else 'are pickles'}",
        expected=f"{single.name}: a pickle can run code when it is opened and is not loaded here",
        fix=f"Convert it once, where you trust its source: lexiseg convert {shlex.quote(str(folder))}"
        if any(name.endswith(".bin") for name in pickles)
        else "Choose the checkpoint in transformers' layout; what its authors call .pt or .pth has other names.",
    )


def _refuse_openclip(folder: Path) -> None:
    kind = describe_folder(folder)
    if kind is not None and kind.startswith("OpenCLIP"):
        raise CheckpointError(
            doing=f"opening the checkpoint {folder}",
            found=kind,
            expected="transformers' layout: config.json with a model_type, model.safetensors",
            fix=f"Take one that has transformers' layout too: {', '.join(TRANSFORMERS_CLIPS)}.",
        )


def _refuse_links_that_leave(folder: Path) -> None:
    """Refuse links out of the folder; the hub's cache links from snapshots/ to its own blobs/."""
    home = root = folder.resolve()
    if root.parent.name == "snapshots" and root.parent.parent.name.startswith("models--"):
        home = root.parent.parent
    for path in sorted(folder.iterdir()):
        try:
            leaves = path.is_symlink() and not path.resolve().is_relative_to(home)
        except (OSError, RuntimeError) as error:  # the latter for a link that leads back to itself
            raise _unreadable(path, f"a link that leads nowhere ({error})") from error
        if leaves:
            raise CheckpointError(
                doing=f"opening the checkpoint {folder}",
                found=f"{path.name}, a link to {path.resolve()}",
                expected="files inside the folder (or links inside one model's hub cache)",
                fix="Copy the file in place of the link if you trust it.",
            )


def _refuse_not_finite(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    # A sum is not finite if one number is not, and needs no memory; of large numbers it may overflow.
    spoilt = [
        name for name, value in tensors.items() if not value.sum().isfinite() and not value.isfinite().all()
    ]
    if spoilt:
        raise CheckpointError(
            doing=f"reading the tensors in {folder}",
            found=f"numbers that are NaN or infinite in {len(spoilt)}: {', '.join(spoilt[:_SHOWN])}",
            expected="finite numbers: others make every score NaN",
            fix="Download the checkpoint again, or choose one from before its training diverged.",
        )


def _unreadable(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        doing=f"reading {path}",
        found=found,
        expected="a folder as the hub has it: config.json, model.safetensors, tokenizer.json, preprocessor_config.json",
        fix="Download or copy the checkpoint again, complete.",
    )
