"""A run's log also goes to services, through accelerate's trackers."""

import json
import sys
from types import ModuleType

import pytest

from lexiseg.core.errors import MissingPackageError
from lexiseg.engine.log import RunLog
from lexiseg.engine.settings import RunSettings

tracking = pytest.importorskip("accelerate.tracking")


class Recorder(tracking.GeneralTracker):
    """What accelerate asks of a tracker, kept in a list."""

    name, requires_logging_directory = "wandb", False
    said: list = []  # noqa: RUF012

    def __init__(self, run_name):
        super().__init__()
        self.said.append(("run", run_name))

    def start(self):
        self.said.append(("start",))

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values):
        self.said.append(("settings", values))

    def log(self, values, step=None, **_):
        self.said.append((step, values))

    def finish(self):
        self.said.append(("finish",))


def test_a_tracker_gets_settings_steps_and_evaluations(tmp_path, monkeypatch):
    import importlib.machinery

    module = ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(Recorder, "said", [])
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "x", "settings": {"run": {"seed": 3}}}))
    log = RunLog(tmp_path, 0, ("wandb",))
    log.evaluation(4, {"mean_iou": 0.5})
    log.close()
    assert Recorder.said == [
        ("run", tmp_path.name),
        ("start",),
        ("settings", {"name": "x", "settings.run.seed": 3}),
        (4, {"evaluation/mean_iou": 0.5}),
        ("finish",),
    ]


def test_a_service_without_its_package_is_named(tmp_path):
    with pytest.raises(MissingPackageError, match="pip install swanlab"):
        RunLog(tmp_path, 0, ("swanlab",))
    assert RunSettings(num_steps=1, batch_size=1, trackers=("wandb", "mlflow")).trackers == (
        "wandb",
        "mlflow",
    )
