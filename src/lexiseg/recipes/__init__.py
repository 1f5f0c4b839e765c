"""Models by name: ``RECIPES`` lists our own; anything else is a checkpoint."""

from lexiseg.recipes.by_name import RECIPES as RECIPES
from lexiseg.recipes.by_name import known_models as known_models
from lexiseg.recipes.by_name import load as load
