"""The loop that computes blocks and writes them, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from moments_xr import cube, datasets
from moments_xr import store as zarr_store
from moments_xr.errors import DataError, StoreError
from moments_xr.plan import check_data, resolve_block
from moments_xr.progress import Progress, notice
from moments_xr.recipe import IN_MEMORY, Recipe, sweep_points


def run(
    recipe: Recipe, store: str | Path | None = None, *, data: Any = None, progress: bool = True
) -> xr.Dataset | xr.DataTree:
    """Run a recipe: draw, propagate and measure its realizations, into a store or in memory.

    On a store of the same recipe it resumes, or extends it if more realizations are asked for; a finished one is
    returned as it is.

    Parameters
    ----------
    recipe
        What to run.
    store
        Path of a Zarr store; without one the cube is made in memory.
    data
        Signals (sample, *space, channel) to use instead of the recipe's data set.
    progress
        Show blocks, rate and time left.

    Returns
    -------
    The lazy cube; a DataTree, a node a point, if the recipe has a sweep.

    Raises
    ------
    RecipeError, DataError, StoreError
        The recipe, its data or the store is not right; found before any work.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> dict(ds.sizes)["layer"]
    4
    """
    if store is not None:
        zarr_store.check_path(store)
    given = None if data is None else datasets.from_array(data)
    if given is not None:
        input_ = {"dataset": "array", "path": IN_MEMORY, "batch": recipe.input.batch}
        input_["fingerprint"] = datasets.fingerprint_array(data)
        input_ |= recipe.input.model_dump(include={"scale"}, exclude_unset=True)
        recipe = Recipe(**(recipe.model_dump(mode="json", exclude_unset=True) | {"input": input_}))
    nodes, sources = _with_data(recipe.nodes(), given)
    if store is None:
        nodes = {name: _resolve(node, sources[name]) for name, node in nodes.items()}
        with Progress([(node, part) for node in nodes.values() for part in _parts(node)], progress) as bar:
            cubes = {name: _in_memory(node, sources[name], bar) for name, node in nodes.items()}
        return _tree(recipe, cubes)
    nodes = _prepare(store, recipe, {name: _resolve(node, sources[name]) for name, node in nodes.items()})
    todo = {
        name: [part for part in zarr_store.pending(store, name or None, node.block) if part.start < recipe.realizations]
        for name, node in nodes.items()
    }
    with Progress([(node, part) for name, node in nodes.items() for part in todo[name]], progress) as bar:
        for name, node in nodes.items():
            for part in todo[name]:
                arrays = _compute(node, part, sources[name], bar)
                zarr_store.write_block(store, name or None, node, part, arrays)
                bar.block_done()
    return _first(zarr_store.open_cube(store), recipe)


def _with_data(
    nodes: Mapping[str, Recipe], given: datasets.Dataset | None
) -> tuple[dict[str, Recipe], dict[str, datasets.Dataset]]:
    """Recipes with the fingerprint of their data, and the data sets, each read once and checked before any work."""
    read: dict[str, tuple[datasets.Dataset, str | None]] = {}
    recipes, sources = {}, {}
    for name, node in nodes.items():
        i = node.input
        key = i.model_dump_json(exclude={"batch", "scale", "fingerprint"})
        if key not in read:
            source = given or datasets.load(i.dataset, path=i.path, shape=i.shape, spectrum=i.spectrum)
            read[key] = source, None if i.path in (None, IN_MEMORY) else datasets.fingerprint(i.dataset, i.path)
        source, fingerprint = read[key]
        if fingerprint is not None and i.fingerprint not in (None, fingerprint):
            raise DataError(f"input.fingerprint: {i.fingerprint} is not that of the data at '{i.path}', {fingerprint}")
        check_data(node, source.shape, source.size)
        recipes[name] = node if fingerprint is None else node.replace({"input.fingerprint": fingerprint})
        sources[name] = source
    return recipes, sources


def _resolve(recipe: Recipe, dataset: datasets.Dataset) -> Recipe:
    """The recipe with what is `auto` resolved, as the store keeps it."""
    from moments_xr.propagation.block import resolve_device

    device = str(resolve_device(recipe.compute.device))
    precision = "float32" if recipe.compute.precision == "auto" else recipe.compute.precision
    block = resolve_block(recipe, dataset.shape, device)
    return recipe.replace({"compute": {"device": device, "precision": precision, "block": block}})


def _prepare(store: str | Path, recipe: Recipe, nodes: dict[str, Recipe]) -> dict[str, Recipe]:
    """Create, check or extend the store; returns the nodes' recipes with what the store has resolved."""
    if not Path(store).exists():
        zarr_store.create(store, recipe, nodes)
        return nodes
    attrs = zarr_store.read_attrs(store)
    listed = zarr_store.listed_points(attrs)
    theirs, ours = (
        {key for point in points for key in point} for points in (listed.values(), sweep_points(recipe.sweep or []))
    )
    if theirs != ours:
        there, here = (", ".join(sorted(keys)) or "nothing" for keys in (theirs, ours))
        raise StoreError(
            f"store '{store}': made by another recipe: it sweeps {there}, this one {here}; "
            "choose another store, or delete this one"
        )
    stored = {name: zarr_store.node_recipe(store, name or None) for name in nodes}
    any_node = next((zarr_store.node_recipe(store, name) for name in listed), None)
    for name, node in nodes.items():
        if any_node is not None:  # of a sweep: its nodes differ in the swept keys only
            zarr_store.check_identity(store, any_node, node, but=theirs)
        before = stored[name]
        if before is not None:
            zarr_store.check_identity(store, before, node)
    zarr_store.clean(store)
    if recipe.sweep is not None and not nodes.keys() <= listed.keys():
        zarr_store.add_nodes(store, recipe, {name: node for name, node in nodes.items() if name not in listed})
    resolved = dict(nodes)
    for name, before in stored.items():
        if before is None:
            continue
        device = before.compute.device if recipe.compute.device == "auto" else nodes[name].compute.device
        resolved[name] = nodes[name].replace({"compute.block": before.block, "compute.device": device})
        have = zarr_store.length(store, name or None)
        if recipe.realizations > have:
            zarr_store.extend(store, name or None, resolved[name], recipe)
        elif zarr_store.interrupted(store, name or None):
            old = {"realizations": have}
            zarr_store.extend(store, name or None, resolved[name].replace(old), recipe.replace(old))
        if recipe.realizations < have:
            notice(f"store '{store}' keeps its {have} realizations; the first {recipe.realizations} are returned")
    return resolved


def _compute(recipe: Recipe, part: range, dataset: datasets.Dataset, bar: Progress) -> dict[str, Any]:
    from moments_xr.propagation.block import compute_block, resolve_device

    arrays = compute_block(recipe, range(part.start, part.start + recipe.block), dataset, bar.layer)
    return cube.complete(arrays, resolve_device(recipe.compute.device).type)


def _in_memory(recipe: Recipe, dataset: datasets.Dataset, bar: Progress) -> xr.Dataset:
    blocks = []
    for part in _parts(recipe):
        arrays = {name: values[: len(part)] for name, values in _compute(recipe, part, dataset, bar).items()}
        blocks.append(cube.label(recipe, arrays, part))
        bar.block_done()
    ds = xr.concat(blocks, "realization", data_vars="minimal", coords="minimal", compat="override", join="override")
    return ds.assign_attrs(zarr_store.node_attrs(recipe))


def _parts(recipe: Recipe) -> list[range]:
    """Realizations of each block."""
    return [
        range(start, min(start + recipe.block, recipe.realizations))
        for start in range(0, recipe.realizations, recipe.block)
    ]


def _tree(recipe: Recipe, cubes: dict[str, xr.Dataset]) -> xr.Dataset | xr.DataTree:
    if recipe.sweep is None:
        return cubes[""]
    points = sweep_points(recipe.sweep)
    named = {name: ds.assign_coords(point) for (name, ds), point in zip(cubes.items(), points, strict=True)}
    tree = xr.DataTree.from_dict(named)
    tree.attrs = zarr_store.sweep_attrs(recipe)
    return tree


def _first(result: xr.Dataset | xr.DataTree, recipe: Recipe) -> xr.Dataset | xr.DataTree:
    """As many realizations as the recipe asks for, and the nodes of its sweep."""
    if isinstance(result, xr.Dataset):
        return result.isel(realization=slice(recipe.realizations))
    nodes = {name: result[name].to_dataset().isel(realization=slice(recipe.realizations)) for name in recipe.nodes()}
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = result.attrs
    return tree
