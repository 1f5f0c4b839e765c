"""What a run keeps so that its model can be built where neither the data nor first weights are."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from lexiseg.core.interfaces import Trainable
from lexiseg.recipes.training import Recipe


class RebuildableRecipe(Recipe):
    """A recipe whose ``build_model`` reads more than settings: names of a data set, a pretrained network.

    What it read is written into the run's ``model.json``. Loading the run builds from that.
    """

    @abstractmethod
    def describe_model(self, model: Trainable) -> dict[str, Any]:
        """Give what ``rebuild_model`` needs beside the settings, as JSON has it."""

    @abstractmethod
    def rebuild_model(self, described: Mapping[str, Any]) -> Trainable:
        """Build the model without its weights: these are in the run.

        Raises:
            KeyError: Something is missing in what was described; ``TypeError`` and ``ValueError`` likewise.
        """
