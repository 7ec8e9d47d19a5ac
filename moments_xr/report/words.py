"""What a report says, as HTML: the macros of `words.html`."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from moments_xr.report.content import rounded

TEMPLATES = Environment(
    loader=PackageLoader("moments_xr", "report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)
TEMPLATES.globals["rounded"] = rounded


def say(macro: str, *values: Any) -> str:
    """A macro of `words.html` with its values.

    >>> say("caption", "χ < 1")
    '<p class="caption">χ &lt; 1</p>'
    """
    return str(getattr(TEMPLATES.get_template("words.html").module, macro)(*values))
