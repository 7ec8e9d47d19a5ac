"""Is a deep network well-behaved or pathological at initialisation, and why?

A signal and an infinitesimal noise propagate together through randomly initialised networks; the moments that they
have are kept in labelled cubes, and `ds.moments` answers from them. Importing this package loads neither torch, panel
nor holoviews: each public name is loaded when it is first used.
"""

import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import TYPE_CHECKING, Any

from moments_xr import accessor as accessor

if TYPE_CHECKING:
    from moments_xr.advice import advise as advise
    from moments_xr.analysis.channels import channel_fluctuation as channel_fluctuation
    from moments_xr.analysis.comparison import compare_theory as compare_theory
    from moments_xr.analysis.decomposition import decompose as decompose
    from moments_xr.analysis.depth_scale import fit_depth_scale as fit_depth_scale
    from moments_xr.analysis.evidence import evidence as evidence
    from moments_xr.analysis.growth import fit_growth as fit_growth
    from moments_xr.analysis.lognormal import fit_lognormal as fit_lognormal
    from moments_xr.analysis.pathology import classify as classify
    from moments_xr.analysis.sensitivity import alive as alive
    from moments_xr.analysis.sensitivity import chi as chi
    from moments_xr.analysis.sensitivity import effective_rank as effective_rank
    from moments_xr.analysis.sensitivity import get as get
    from moments_xr.analysis.sensitivity import increments as increments
    from moments_xr.analysis.summary import summary as summary
    from moments_xr.analysis.theorems import check_theorems as check_theorems
    from moments_xr.jacobian import singular_values as singular_values
    from moments_xr.npz import open_npz as open_npz
    from moments_xr.plan import plan as plan
    from moments_xr.propagate import propagate as propagate
    from moments_xr.recipe import Recipe as Recipe
    from moments_xr.recipe import recipe as recipe
    from moments_xr.recipe import recipes as recipes
    from moments_xr.report.page import write_report as write_report
    from moments_xr.run import run as run
    from moments_xr.store import open_cube as open_cube
    from moments_xr.training import train as train

try:
    __version__ = version("moments-xr")
except PackageNotFoundError:  # a checkout on the path, not installed
    __version__ = "0"

_EXPORTS = {
    "Recipe": "recipe",
    "recipe": "recipe",
    "recipes": "recipe",
    "run": "run",
    "propagate": "propagate",
    "advise": "advice",
    "singular_values": "jacobian",
    "train": "training",
    "plan": "plan",
    "open_cube": "store",
    "open_npz": "npz",
    "get": "analysis.sensitivity",
    "chi": "analysis.sensitivity",
    "increments": "analysis.sensitivity",
    "effective_rank": "analysis.sensitivity",
    "alive": "analysis.sensitivity",
    "summary": "analysis.summary",
    "decompose": "analysis.decomposition",
    "fit_lognormal": "analysis.lognormal",
    "fit_growth": "analysis.growth",
    "check_theorems": "analysis.theorems",
    "compare_theory": "analysis.comparison",
    "fit_depth_scale": "analysis.depth_scale",
    "classify": "analysis.pathology",
    "evidence": "analysis.evidence",
    "channel_fluctuation": "analysis.channels",
    "write_report": "report.page",
}

__all__ = sorted([*_EXPORTS, "theory", "__version__"])


def __getattr__(name: str) -> Any:
    if name == "theory":
        return import_module("moments_xr.theory")
    if name not in _EXPORTS:
        raise AttributeError(f"module 'moments_xr' has no attribute '{name}'")
    value = getattr(import_module(f"moments_xr.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """`run`, `plan`, `propagate`… are functions, and modules of the same name: importing those may not hide these."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _EXPORTS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
