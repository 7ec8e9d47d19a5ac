"""`ds.moments` and `tree.moments`: one line a method, each calls the public function of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import xarray as xr


@xr.register_dataset_accessor("moments")
@xr.register_datatree_accessor("moments")
class Moments:
    """Answers from a cube, or along the swept coordinates from a sweep's DataTree."""

    def __init__(self, ds: xr.Dataset | xr.DataTree) -> None:
        self._ds = ds

    def get(self, name: str, log: bool = False, channels: bool = False, site: str | None = None) -> xr.DataArray:
        """A quantity by its registered name; see `moments_xr.get`."""
        from moments_xr.analysis import sensitivity

        return sensitivity.get(self._ds, name, log=log, channels=channels, site=site)

    def nu1(self, tensor: Literal["signal"] = "signal", channels: bool = False) -> xr.DataArray:
        """Mean, ν₁; see `moments_xr.get`."""
        return self.get(f"nu1_{tensor}", channels=channels)

    def nu1_abs(self, tensor: Literal["signal"] = "signal", log: bool = False, channels: bool = False) -> xr.DataArray:
        """Mean absolute value, ν₁(|·|); see `moments_xr.get`."""
        return self.get(f"nu1_abs_{tensor}", log=log, channels=channels)

    def nu2(
        self, tensor: Literal["signal", "noise"] = "signal", log: bool = False, channels: bool = False
    ) -> xr.DataArray:
        """Mean square, ν₂ (of the noise it is μ₂); see `moments_xr.get`."""
        return self.get("mu2_noise" if tensor == "noise" else "nu2_signal", log=log, channels=channels)

    def mu2(
        self, tensor: Literal["signal", "noise"] = "signal", log: bool = False, channels: bool = False
    ) -> xr.DataArray:
        """Variance, μ₂; see `moments_xr.get`."""
        return self.get(f"mu2_{tensor}", log=log, channels=channels)

    def mu4(
        self, tensor: Literal["signal", "noise"] = "signal", log: bool = False, channels: bool = False
    ) -> xr.DataArray:
        """Fourth central moment, μ₄; see `moments_xr.get`."""
        return self.get(f"mu4_{tensor}", log=log, channels=channels)

    def chi(self, log: bool = False, site: str | None = None) -> xr.DataArray:
        """Normalised sensitivity χ; see `moments_xr.chi`."""
        from moments_xr.analysis import sensitivity

        return sensitivity.chi(self._ds, log=log, site=site)

    def increments(self, of: str = "chi", by: Literal["layer", "step"] = "layer", log: bool = False) -> xr.DataArray:
        """Increments over layers or over steps; see `moments_xr.increments`."""
        from moments_xr.analysis import sensitivity

        return sensitivity.increments(self._ds, of, by=by, log=log)

    def effective_rank(self, tensor: Literal["signal", "noise"] = "signal", site: str | None = None) -> xr.DataArray:
        """Effective rank r_eff; see `moments_xr.effective_rank`."""
        from moments_xr.analysis import sensitivity

        return sensitivity.effective_rank(self._ds, tensor, site=site)

    def alive(self, site: str = "output") -> xr.DataArray:
        """Whether the signal is not all zero; see `moments_xr.alive`."""
        from moments_xr.analysis import sensitivity

        return sensitivity.alive(self._ds, site=site)

    def summary(self, layers: Sequence[int] | None = None) -> xr.Dataset:
        """What a person wants first; see `moments_xr.summary`."""
        from moments_xr.analysis.summary import summary

        return summary(self._ds, layers)

    def decompose(
        self, of: str = "chi", method: Literal["auto", "branches", "theory", "realizations"] = "auto"
    ) -> xr.Dataset:
        """The terms m̄, m̃ and s of the evolution with depth; see `moments_xr.decompose`."""
        from moments_xr.analysis import decomposition

        return decomposition.decompose(self._ds, of, method)

    def channel_fluctuation(self, of: str = "nu2_signal") -> xr.DataArray:
        """m̃ predicted from the spread of channels in one realization; see `moments_xr.channel_fluctuation`."""
        from moments_xr.analysis import channels

        return channels.channel_fluctuation(self._ds, of)

    def fit_lognormal(
        self, of: str = "nu2_signal", site: str = "output", layers: tuple[int, int] | None = None
    ) -> xr.Dataset:
        """The lognormal law of a quantity over realizations; see `moments_xr.fit_lognormal`."""
        from moments_xr.analysis import lognormal

        return lognormal.fit_lognormal(self._ds, of, site=site, layers=layers)

    def fit_growth(self, layers: tuple[int, int] | None = None, site: str = "output") -> xr.Dataset:
        """How χ grows with depth; see `moments_xr.fit_growth`."""
        from moments_xr.analysis import growth

        return growth.fit_growth(self._ds, layers, site=site)

    def check_theorems(self) -> xr.Dataset:
        """Measured against predicted for each theorem; see `moments_xr.check_theorems`."""
        from moments_xr.analysis import theorems

        return theorems.check_theorems(self._ds)

    def compare_theory(self, batches: int = 8, inputs: Any = None) -> xr.Dataset:
        """Measured against the mean-field prediction; see `moments_xr.compare_theory`."""
        from moments_xr.analysis import comparison

        return comparison.compare_theory(self._ds, batches, inputs)

    def fit_depth_scale(self, site: str = "conv") -> xr.Dataset:
        """Depth scale ξ_c of measured correlations; see `moments_xr.fit_depth_scale`."""
        from moments_xr.analysis import depth_scale

        return depth_scale.fit_depth_scale(self._ds, site)

    def classify(self) -> xr.Dataset:
        """Verdicts on pathologies; see `moments_xr.classify`."""
        from moments_xr.analysis import pathology

        return pathology.classify(self._ds)

    def evidence(self) -> xr.Dataset:
        """Where along the depth each pathology is; see `moments_xr.evidence`."""
        from moments_xr.analysis import evidence

        return evidence.evidence(self._ds)

    @property
    def plot(self) -> Any:
        """Pictures; see `moments_xr.plots`."""
        from moments_xr.plots import Plots

        return Plots(self._ds)
