"""Pictures of cubes, in HoloViews: matplotlib for paper, bokeh for the screen."""

from __future__ import annotations

from typing import Any, Literal

import xarray as xr

try:
    import bokeh as _bokeh  # noqa: F401
    import holoviews as _holoviews  # noqa: F401
    import matplotlib as _matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError('pictures need HoloViews, bokeh and matplotlib: pip install "moments-xr[plot]"') from error


Backend = Literal["matplotlib", "bokeh"]


class Plots:
    """`ds.moments.plot`: one line a method, each calls the function of the same name."""

    def __init__(self, ds: xr.Dataset | xr.DataTree) -> None:
        self._ds = ds

    def sensitivity(
        self,
        layers: tuple[int, int] | None = None,
        site: str = "output",
        logy: bool | None = None,
        backend: Backend | None = None,
    ) -> Any:
        """χ with depth, and both laws of growth fitted to it; see `moments_xr.plots.profiles.sensitivity`."""
        from moments_xr.plots.profiles import sensitivity

        return sensitivity(self._ds, layers, site, logy, backend)

    def increments(self, of: str = "chi", backend: Backend | None = None) -> Any:
        """Increments of each layer, and of each step inside it; see `moments_xr.plots.profiles.increments`."""
        from moments_xr.plots.profiles import increments

        return increments(self._ds, of, backend)

    def effective_rank(self, site: str | None = None, logy: bool | None = None, backend: Backend | None = None) -> Any:
        """Effective ranks of signal and noise with depth; see `moments_xr.plots.profiles.effective_rank`."""
        from moments_xr.plots.profiles import effective_rank

        return effective_rank(self._ds, site, logy, backend)

    def moments(self, site: str | None = None, logy: bool | None = None, backend: Backend | None = None) -> Any:
        """Moments of the pre-activations z with depth; see `moments_xr.plots.profiles.moments`."""
        from moments_xr.plots.profiles import moments

        return moments(self._ds, site, logy, backend)

    def compare(self, of: str | None = None, logy: bool | None = None, backend: Backend | None = None) -> Any:
        """Nodes of a sweep beside each other; see `moments_xr.plots.compare.compare`."""
        from moments_xr.plots.compare import compare

        return compare(self._ds, of, logy, backend)

    def lognormal(
        self,
        of: str = "nu2_signal",
        site: str = "output",
        layers: list[int] | None = None,
        backend: Backend | None = None,
    ) -> Any:
        """Histograms of a log-moment with the fitted normal law, and quantiles; see `moments_xr.plots.laws.lognormal`."""
        from moments_xr.plots.laws import lognormal

        return lognormal(self._ds, of, site, layers, backend)

    def realizations(self, realization: int | None = None, backend: Backend | None = None) -> Any:
        """Each net as a point at the deepest layer; see `moments_xr.plots.realizations.realizations`."""
        from moments_xr.plots.realizations import realizations

        return realizations(self._ds, realization, backend)

    def theorems(self, backend: Backend | None = None) -> Any:
        """Measured against predicted, in standard errors; see `moments_xr.plots.theorems.theorems`."""
        from moments_xr.plots.theorems import theorems

        return theorems(self._ds, backend)

    def channels(
        self,
        of: str = "nu2_signal",
        realization: int | None = None,
        site: str = "output",
        backend: Backend | None = None,
    ) -> Any:
        """One realization's channels as an image over depth; see `moments_xr.plots.channels.channels`."""
        from moments_xr.plots.channels import channels

        return channels(self._ds, of, realization, site, backend)

    def verdicts(self, backend: Backend | None = None) -> Any:
        """Which pathology where along the depth; see `moments_xr.plots.verdicts.verdicts`."""
        from moments_xr.plots.verdicts import verdicts

        return verdicts(self._ds, backend)

    def figure(self, kind: str, backend: Backend | None = None) -> Any:
        """A figure of the paper; see `moments_xr.plots.papers.figure`."""
        from moments_xr.plots.papers import figure

        return figure(self._ds, kind, backend)

    def decomposition(
        self,
        of: str = "chi",
        method: Literal["auto", "branches", "theory", "realizations"] = "auto",
        backend: Backend | None = None,
    ) -> Any:
        """The terms m̄, m̃ and s with depth, and their sums; see `moments_xr.plots.analysis.decomposition`."""
        from moments_xr.plots.analysis import decomposition

        return decomposition(self._ds, of, method, backend)

    def diffusion(self, backend: Backend | None = None) -> Any:
        """The diffusion of vanilla nets against their width; see `moments_xr.plots.analysis.diffusion`."""
        from moments_xr.plots.analysis import diffusion

        return diffusion(self._ds, backend)

    def theory(self, backend: Backend | None = None) -> Any:
        """What theory at infinite width predicts, and what real nets did; see `moments_xr.plots.theory.theory`."""
        from moments_xr.plots.theory import theory

        return theory(self._ds, backend)

    def correlation(self, backend: Backend | None = None) -> Any:
        """Correlations of pairs of inputs, and the c-map's; see `moments_xr.plots.correlations.correlation`."""
        from moments_xr.plots.correlations import correlation

        return correlation(self._ds, backend)

    def depth_scale(self, backend: Backend | None = None) -> Any:
        """Depth scales of correlations along a sweep, and theory's; see `moments_xr.plots.correlations.depth_scale`."""
        from moments_xr.plots.correlations import depth_scale

        return depth_scale(self._ds, backend)
