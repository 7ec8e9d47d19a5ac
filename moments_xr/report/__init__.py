"""A cube reported to people: the page that stands alone, and the live application."""

from importlib.util import find_spec

_LACKING = [name for name in ("bokeh", "holoviews", "matplotlib", "panel") if find_spec(name) is None]
if _LACKING:
    raise ImportError(f'reports need {", ".join(_LACKING)}: pip install "moments-xr[plot]"')
