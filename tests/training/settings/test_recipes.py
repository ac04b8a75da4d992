"""The table of recipes is complete, and each row of it can be used."""

import pytest

from vae_detect.training.settings.config import configure
from vae_detect.training.settings.recipes import RECIPES, SCORES


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_can_be_configured(recipe: str) -> None:
    config = configure({"recipe": recipe, "kind": "windows" if RECIPES[recipe].convolutional else "rows"})
    assert config.recipe == recipe
    assert RECIPES[recipe].summary
    assert RECIPES[recipe].source
    assert SCORES[RECIPES[recipe].score]


def test_every_recipe_of_the_design_is_there() -> None:
    wanted = "ae sparse sparse-coding stacked rbm dbn conv conv-unpool denoising dropout contractive adversarial gan"
    assert set(RECIPES) == {"ensemble", *wanted.split(), "vae", "beta-vae", "iwae", "mixture-vae", "cvae"}
