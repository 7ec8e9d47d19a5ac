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


class Plots:
    """`ds.moments.plot`."""

    def __init__(self, ds: xr.Dataset | xr.DataTree) -> None:
        self._ds = ds

    def figure(self, kind: str, backend: Literal["matplotlib", "bokeh"] | None = None) -> Any:
        """A figure of the paper; see `moments_xr.plots.papers.figure`."""
        from moments_xr.plots.papers import figure

        return figure(self._ds, kind, backend)

    def decomposition(
        self,
        of: str = "chi",
        method: Literal["auto", "branches", "theory", "realizations"] = "auto",
        backend: Literal["matplotlib", "bokeh"] | None = None,
    ) -> Any:
        """The terms m̄, m̃ and s with depth, and their sums; see `moments_xr.plots.analysis.decomposition`."""
        from moments_xr.plots.analysis import decomposition

        return decomposition(self._ds, of, method, backend)

    def diffusion(self, backend: Literal["matplotlib", "bokeh"] | None = None) -> Any:
        """The diffusion of vanilla nets against their width; see `moments_xr.plots.analysis.diffusion`."""
        from moments_xr.plots.analysis import diffusion

        return diffusion(self._ds, backend)
