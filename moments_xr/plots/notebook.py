"""Pictures in a notebook, which shows HoloViews objects as text until an extension is loaded."""

from __future__ import annotations

import sys

import holoviews as hv

DPI = 144


def show_in_notebook() -> None:
    """In a notebook that has loaded no extension of HoloViews, load matplotlib's, sharp enough for any screen.

    Whoever loads one first, as `hv.extension("bokeh")` for interactive pictures, keeps it.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if getattr(shell, "kernel", None) is not None and not hv.extension._loaded:
        hv.extension("matplotlib", logo=False)
        hv.output(dpi=DPI)
