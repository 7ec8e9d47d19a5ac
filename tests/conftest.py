"""Small recipes and cubes that several tests share."""

from collections.abc import Callable
from typing import Any

import pytest
import xarray as xr
from browser import browser as browser
from hypothesis import settings

import moments_xr as mx
from moments_xr.quantities import ARCHITECTURES

settings.register_profile("untimed", deadline=None)  # machines are noisy
settings.load_profile("untimed")

collect_ignore = ["data/make_neural_tangents.py"]  # needs a library that the project does not

SAMPLE = {1: [20], 3: [8, 8, 2]}


def make_recipe(architecture: str = "bn_ff", kernel: int = 1, realizations: int = 6, **changes: Any) -> mx.Recipe:
    """Depth 6, width 12, batch 8, every second layer; `changes` are dotted keys with __ for the dot."""
    recipe = mx.Recipe(
        name="small",
        realizations=realizations,
        input={"dataset": "gaussian", "shape": SAMPLE[kernel], "batch": 8},
        network={"architecture": architecture, "depth": 6, "width": 12, "kernel": kernel},
        measure={"every": 2, "channels": "all", "effective_rank": ["signal", "noise"]},
        compute={"block": 4},
    )
    return recipe.replace({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture
def small() -> Callable[..., mx.Recipe]:
    return make_recipe


@pytest.fixture(scope="session")
def cubes() -> dict[str, xr.Dataset]:
    """One cube of each architecture, in memory."""
    return {name: mx.run(make_recipe(name, realizations=8), progress=False) for name in ARCHITECTURES}
