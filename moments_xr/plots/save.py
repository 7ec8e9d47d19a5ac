"""Figures into files: PNG, SVG and PDF by matplotlib, HTML that stands alone by bokeh."""

from __future__ import annotations

import re
from pathlib import Path

import holoviews as hv
import matplotlib as mpl

from moments_xr.errors import RequestError
from moments_xr.plots.theme import RCPARAMS, Backend

BACKENDS: dict[str, Backend] = {".png": "matplotlib", ".svg": "matplotlib", ".pdf": "matplotlib", ".html": "bokeh"}
DPI = 300
SERVED = re.compile(r'<script[^>]*\ssrc="static/[^"]*"[^>]*></script>')
"""Scripts that bokeh takes from its server for any model ever imported (HoloViews imports panel's), drawn or not."""


def backend_for(path: str | Path) -> Backend:
    """The backend that writes a file of this suffix.

    Raises
    ------
    RequestError
        Not .png, .svg, .pdf or .html.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in BACKENDS:
        raise RequestError(f"output '{path}': suffix '{suffix}' is not one of {', '.join(BACKENDS)}")
    return BACKENDS[suffix]


def save(figure: hv.Layout, path: str | Path) -> None:
    """Write a figure made for `backend_for(path)`; the same figure gives the same bytes (HTML: but for element ids).

    Raises
    ------
    RequestError
        The suffix is none of the four, or the figure was made for the other backend: it would come out unstyled.

    Examples
    --------
    >>> from moments_xr.plots.save import backend_for
    >>> backend_for("figures/fig4.pdf")
    'matplotlib'
    """
    backend, path = backend_for(path), Path(path)
    if backend not in _styled_for(figure):
        raise RequestError(
            f"output '{path}': it is drawn by {backend}, and this figure was made for another: figure(..., backend=\"{backend}\")"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    if backend == "bokeh":
        from bokeh.embed import file_html
        from bokeh.resources import INLINE

        page = file_html(hv.render(figure, backend="bokeh"), INLINE, title=path.stem)
        path.write_text(SERVED.sub("", page), encoding="utf-8")
        return
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}[path.suffix.lower()]
    with mpl.rc_context(RCPARAMS):
        rendered = hv.renderer("matplotlib").get_plot_state(figure)  # hv.render draws everything twice
        rendered.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.05, metadata=metadata)


def _styled_for(figure: hv.Layout) -> set[Backend]:
    """Backends whose options the panels have; all, if they have none of our theme."""
    panels = figure.traverse(lambda panel: panel, [hv.Overlay])
    styled: set[Backend] = {
        backend
        for backend in BACKENDS.values()
        if backend in hv.Store.renderers
        and any("xlabel" in hv.Store.lookup_options(backend, panel, "plot").kwargs for panel in panels)
    }
    return styled or set(BACKENDS.values())
