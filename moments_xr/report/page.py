"""The page that stands alone: one HTML file, without network, with what `content` says and the figures of `figures`.

Two pages of the same cube are the same bytes: element ids are numbered anew, and neither times nor places are written.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import xarray as xr

from moments_xr.analysis.report import analyse
from moments_xr.errors import RequestError, StoreError
from moments_xr.recipe import Recipe
from moments_xr.report import content
from moments_xr.report.figures import FIGURES, GROUPS, SWEEP_FIGURES, Figure
from moments_xr.report.panels import Drawn, draw, runtime
from moments_xr.report.words import TEMPLATES
from moments_xr.store import open_cube

LARGEST = 6_000_000
"""Bytes of a page. Figures that would make it larger are left out, and it says so."""

WORDS = 400_000
"""Bytes of a page that are left for words and tables."""

NODES = 12
"""Nodes of a sweep that its page shows one by one; of all of them it has the verdicts."""

NODE_FIGURES = ("verdicts", "sensitivity", "increments", "effective_rank", "moments")

LAST = {"provenance": "Recipe and versions"}
"""The id and the title of what every page ends with."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Section:
    """Figures under a heading."""

    id: str
    title: str
    figures: tuple[tuple[Figure, Drawn], ...]


@dataclass(frozen=True)
class Cube:
    """All that the page says of one cube."""

    id: str
    name: str
    headline: str
    verdicts: tuple[content.Verdict, ...]
    findings: tuple[str, ...]
    facts: dict[str, str]
    provenance: dict[str, str]
    completeness: tuple[int, int]
    numbers: content.Numbers
    sections: tuple[Section, ...]


def write_report(
    cube: xr.Dataset | xr.DataTree | str | Path, path: str | Path, name: str | None = None, say: Say | None = None
) -> Path:
    """Write the page that stands alone: verdicts, interactive figures, numbers, recipe and versions in one HTML file.

    Parameters
    ----------
    cube
        A cube, a sweep, or the path of a store. Of one that is not complete, what is done is reported, and the page says
        how much that is.
    path
        The .html file; folders that are not there are made.
    name
        Heads the page; the store's, or else the recipe's, if not given.
    say
        Called with the name of each step as it begins.

    Returns
    -------
    The path. The file is under 6 MB, asks nothing of a network, and has the same bytes for the same cube.

    Raises
    ------
    RequestError
        The file is no .html.
    StoreError
        There is no cube, it is damaged, or no realization is done.

    Examples
    --------
    >>> import moments_xr as mx
    >>> mx.write_report("stores/quickstart.zarr", "reports/quickstart.html")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix.lower() != ".html":
        raise RequestError(f"output '{path}': a report is an .html file")
    if not isinstance(cube, xr.Dataset | xr.DataTree):
        cube, name = open_cube(cube), name or Path(cube).stem
    text = html(cube, name, say)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def html(cube: xr.Dataset | xr.DataTree, name: str | None = None, say: Say | None = None) -> str:
    """The page as text; see `write_report`."""
    recipe = content.recipe_of(cube)
    name = name or (recipe.name if recipe else "cube")
    composer = _Composer(name, say or (lambda step: None))
    values = composer.sweep(cube) if isinstance(cube, xr.DataTree) else composer.single(cube)
    return TEMPLATES.get_template("page.html").render(
        name=name,
        description=recipe.description if recipe else "",
        recipe=_without_place(recipe).to_yaml() if recipe else None,
        version=metadata.version("moments-xr"),
        bokeh_version=metadata.version("bokeh"),
        runtime=composer.runtime,
        scripts=composer.scripts,
        **values,
    )


class _Composer:
    """Draws figures for as long as they fit, and keeps their scripts."""

    def __init__(self, name: str, say: Say) -> None:
        self.name, self.say = name, say
        self.runtime = runtime()
        self.left = LARGEST - WORDS - len(self.runtime.encode())
        self.scripts: list[str] = []
        self.numbers: dict[str, str] = {}

    def single(self, ds: xr.Dataset) -> dict[str, object]:
        """What the template takes of one cube."""
        if ds.sizes.get("realization") == 0:
            raise self._nothing()
        scalar = [dim for dim in ("realization", "layer") if dim not in ds.dims]
        cube = self._cube(ds.expand_dims(scalar), FIGURES)
        contents = {"verdicts": "Verdicts", **{section.id: section.title for section in cube.sections}}
        return {
            "cubes": [cube],
            "nodes": 0,
            "headline": cube.headline,
            "contents": {**contents, "numbers": "Numbers", **LAST},
        }

    def sweep(self, tree: xr.DataTree) -> dict[str, object]:
        """What the template takes of a sweep."""
        nodes = {str(name): node.to_dataset() for name, node in tree.children.items()}
        unstarted = [name for name, ds in nodes.items() if ds.sizes.get("realization") == 0]
        started = {name: ds for name, ds in nodes.items() if name not in unstarted}
        if not started:
            raise self._nothing()
        section = Section("sweep", "Sweep", self._figures(SWEEP_FIGURES.values(), tree))
        cubes = [
            self._cube(ds, NODE_FIGURES if k < NODES else (), name, f"node-{k + 1}")
            for k, (name, ds) in enumerate(started.items())
        ]
        headlines = dict.fromkeys(cube.headline for cube in cubes)
        return {
            "cubes": cubes,
            "nodes": NODES,
            "verdicts": {cube.name: cube.verdicts for cube in cubes},
            "links": {cube.name: cube.id for cube in cubes[:NODES]},
            "unstarted": unstarted,
            "sections": [section],
            "headline": next(iter(headlines)) if len(headlines) == 1 else f"a sweep of {len(nodes)} nodes",
            "contents": {"verdicts": "Verdicts", "sweep": "Sweep", "nodes": "Nodes", **LAST},
        }

    def _cube(self, ds: xr.Dataset, names: Collection[str], node: str = "", id: str = "cube") -> Cube:
        self.say(f"{node} analysis".strip())
        results, _ = analyse(ds)
        drawn = self._figures((figure for name, figure in FIGURES.items() if name in names), ds, node)
        sections = tuple(
            Section(group.lower(), group, figures)
            for group in GROUPS
            if (figures := tuple(pair for pair in drawn if pair[0].group == group))
        )
        return Cube(
            id,
            node,
            content.headline(results),
            content.verdicts(results),
            content.findings(results),
            content.facts(ds, results),
            content.provenance(ds),
            content.completeness(ds),
            content.numbers(results),
            sections,
        )

    def _nothing(self) -> StoreError:
        return StoreError(f"'{self.name}': no realization is done yet; `moments-xr run` finishes it")

    def _figures(
        self, figures: Iterable[Figure], cube: xr.Dataset | xr.DataTree, node: str = ""
    ) -> tuple[tuple[Figure, Drawn], ...]:
        """Those figures that there are of this kind of cube."""
        pairs = []
        for figure in figures:
            self.say(f"{node} {figure.title}".strip())
            drawn = draw(figure, cube, self.numbers)
            if drawn is not None:
                pairs.append((figure, self._fitted(drawn)))
        return tuple(pairs)

    def _fitted(self, drawn: Drawn) -> Drawn:
        """The figure with its script kept; or why not, if the page has no room left for it."""
        size = len(drawn.script.encode())
        if size > self.left:
            return Drawn(missing=f"it would make this page larger than {LARGEST / 1e6:g} MB.")
        self.left -= size
        self.scripts += [drawn.script] if drawn.script else []
        return drawn


def _without_place(recipe: Recipe) -> Recipe:
    """The recipe with no more than the name of a file or folder that is somewhere on the machine."""
    path = recipe.input.path
    return recipe.replace({"input.path": Path(path).name}) if path and Path(path).is_absolute() else recipe
