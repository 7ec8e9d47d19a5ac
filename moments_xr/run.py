"""The loop that computes blocks and writes them, in this process; and the entry with explicit inputs and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from moments_xr import cube, datasets
from moments_xr import store as zarr_store
from moments_xr.errors import RecipeError, RequestError, StoreError
from moments_xr.plan import resolve_block
from moments_xr.progress import Progress, notice
from moments_xr.recipe import IN_MEMORY, Network, Recipe, sweep_points


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
    dataset, fingerprint = None, None
    if data is not None:
        dataset, fingerprint = datasets.from_array(data), datasets.fingerprint_array(data)
        input_ = {"dataset": "array", "path": IN_MEMORY, "batch": recipe.input.batch}
        recipe = Recipe(**(recipe.model_dump(mode="json", exclude_unset=True) | {"input": input_}))
    nodes = recipe.nodes()
    sources = {name: _checked_dataset(node, dataset) for name, node in nodes.items()}
    if data is None and recipe.input.path is not None:
        fingerprint = datasets.fingerprint(recipe.input.dataset, recipe.input.path)
    if store is None:
        nodes = {name: _resolve(node, sources[name]) for name, node in nodes.items()}
        with Progress([(node, part) for node in nodes.values() for part in _parts(node)], progress) as bar:
            cubes = {name: _in_memory(node, sources[name], fingerprint, bar) for name, node in nodes.items()}
        return _tree(recipe, cubes)
    nodes = _prepare(store, recipe, nodes, sources, fingerprint)
    todo = {name: zarr_store.pending(store, name or None, node.block) for name, node in nodes.items()}
    with Progress([(node, part) for name, node in nodes.items() for part in todo[name]], progress) as bar:
        for name, node in nodes.items():
            for part in todo[name]:
                arrays = _compute(node, part, sources[name], bar)
                zarr_store.write_block(store, name or None, node, part, arrays)
                bar.block_done()
    result = zarr_store.open_cube(store)
    return _first(result, recipe)


def propagate(
    network: Network | Mapping[str, Any],
    signal: Any,
    noise: Any,
    weights: Sequence[Any] | None = None,
    *,
    biases: Sequence[Any] | None = None,
    seed: int = 0,
    measure: Mapping[str, Any] | None = None,
    compute: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Propagate given inputs through given (or drawn) weights: the entry that `run` uses, made public.

    Parameters
    ----------
    network
        As in a recipe.
    signal, noise
        (realization, sample, *space, channel); without spatial axes when `kernel` is 1. The signal is taken as it is:
        it is not standardised.
    weights
        Kernels (realization, output, *kernel, input) in order of use, the embedding first, then one for each
        convolution; drawn from `seed` if not given.
    biases
        (realization, output) for each convolution after the embedding.
    measure, compute
        As in a recipe.

    Returns
    -------
    The cube of these realizations.

    Raises
    ------
    RecipeError
        A key of the network breaks a rule.
    RequestError
        A shape does not fit, or a value is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import moments_xr as mx
    >>> rng = np.random.default_rng(0)
    >>> x, dx = rng.normal(size=(2, 100, 8, 20))
    >>> network = {"architecture": "vanilla", "depth": 5, "width": 16, "kernel": 1}
    >>> mx.propagate(network, x, dx).sizes["realization"]
    100
    """
    import torch

    from moments_xr.propagation.block import propagate_block, resolve_device, resolve_precision
    from moments_xr.propagation.weights import convolution, draw_weights, streams

    signal, noise = np.asarray(signal), np.asarray(noise)
    values = network.model_dump(exclude_unset=True) if isinstance(network, Network) else dict(network)
    if signal.shape != noise.shape:
        raise RequestError(f"noise: shape {noise.shape} differs from the signal's, {signal.shape}")
    flat = values.get("kernel") == 1
    if not (signal.ndim == 3 if flat else 4 <= signal.ndim <= 6):
        wanted = (
            "(realization, sample, channel)" if flat else "(realization, sample, *space, channel), 1 to 3 spatial axes"
        )
        raise RequestError(
            f"signal: shape {signal.shape} needs to be {wanted}, since the kernel is {values.get('kernel')}"
        )
    for name, array in (("signal", signal), ("noise", noise)):
        if not np.isfinite(array).all():
            raise RequestError(f"{name}: holds values that are not finite")
    realizations, batch, *sample = signal.shape
    recipe = Recipe(
        name="propagate",
        seed=seed,
        realizations=realizations,
        input={"dataset": "array", "path": IN_MEMORY, "batch": max(batch, 2)},
        network=values,
        measure=dict(measure or {}),
        compute=dict(compute or {}),
    )
    device, dtype = resolve_device(recipe.compute.device), resolve_precision(recipe.compute.precision)
    dimensions = len(sample) - 1
    if weights is None:
        own = streams(seed, range(realizations), device)
        flow = draw_weights(recipe.network, own, sample[-1], dimensions, device, dtype)
    else:
        kernels = _checked_kernels(recipe.network, weights, realizations, sample)
        shifts = [None, *(biases if biases is not None else [None] * recipe.network.convolutions)]
        flow = (
            (
                torch.as_tensor(kernel).to(device, dtype),
                None if bias is None else torch.as_tensor(bias).to(device, dtype),
            )
            for kernel, bias in zip(kernels, shifts, strict=True)
        )

    def redraw(layer: int):  # type: ignore[no-untyped-def]
        others = streams(seed, range(realizations), device, layer)
        while True:
            yield convolution(recipe.network, others, dimensions, device, dtype)

    x, dx = (torch.as_tensor(array).to(device, dtype) for array in (signal, noise))
    arrays = propagate_block(recipe, x, dx, flow, redraw)
    return cube.label(
        recipe, cube.complete(arrays, device.type), range(realizations), {"schema_version": cube.SCHEMA_VERSION}
    )


def _checked_kernels(
    network: Network, weights: Sequence[Any], realizations: int, sample: Sequence[int]
) -> list[np.ndarray]:
    kernels = [np.asarray(kernel) for kernel in weights]
    if len(kernels) != network.convolutions + 1:
        raise RequestError(
            f"weights: {len(kernels)} kernels, but the network has an embedding and {network.convolutions} convolutions"
        )
    taps = (network.kernel,) * (len(sample) - 1)
    for i, kernel in enumerate(kernels):
        wanted = (realizations, network.width, *taps, network.width if i else sample[-1])
        if kernel.shape != wanted:
            raise RequestError(
                f"weights: kernel {i} has shape {kernel.shape}, needs (realization, output, *kernel, input) = {wanted}"
            )
    return kernels


def _checked_dataset(recipe: Recipe, dataset: datasets.Dataset | None) -> datasets.Dataset:
    """The data set of a recipe, checked against its network before any work."""
    i = recipe.input
    source = dataset or datasets.load(i.dataset, path=i.path, shape=i.shape, spectrum=i.spectrum)
    if source.size is not None and i.batch > source.size:
        raise RecipeError(f"input.batch: {i.batch} is more than the {source.size} samples of data set '{i.dataset}'")
    space, kernel = source.shape[:-1], recipe.network.kernel
    if kernel > 1 and not space:
        raise RecipeError(
            f"network.kernel: {kernel} needs samples with spatial axes, and those of '{i.dataset}' have shape {source.shape}; 1 is fully connected"
        )
    if kernel > 1 and kernel > min(space):
        raise RecipeError(
            f"network.kernel: {kernel} is larger than the samples of '{i.dataset}', of shape {source.shape}"
        )
    return source


def _resolve(recipe: Recipe, dataset: datasets.Dataset, device: str | None = None) -> Recipe:
    """The recipe with what is `auto` resolved, as the store keeps it."""
    from moments_xr.propagation.block import resolve_device

    resolved = str(resolve_device(recipe.compute.device))
    precision = "float32" if recipe.compute.precision == "auto" else recipe.compute.precision
    block = resolve_block(recipe, dataset.shape, resolved)
    return recipe.replace({"compute": {"device": resolved, "precision": precision, "block": block}})


def _prepare(
    store: str | Path,
    recipe: Recipe,
    nodes: Mapping[str, Recipe],
    sources: Mapping[str, datasets.Dataset],
    fingerprint: str | None,
) -> dict[str, Recipe]:
    """Create, check or extend the store; returns the nodes' recipes with what the store has resolved."""
    resolved = {name: _resolve(node, sources[name]) for name, node in nodes.items()}
    if not Path(store).exists():
        zarr_store.create(store, recipe, resolved, fingerprint)
        return resolved
    attrs = zarr_store.read_attrs(store)
    zarr_store.clean(store)
    if ("sweep" in attrs) != (recipe.sweep is not None):
        there = "a sweep" if "sweep" in attrs else "no sweep"
        raise StoreError(
            f"store '{store}': made by another recipe: {there} there; choose another store, or delete this one"
        )
    missing = {
        name: node for name, node in resolved.items() if name and not (Path(store) / name / "zarr.json").exists()
    }
    for name in resolved.keys() - missing.keys():
        stored = zarr_store.node_attributes(store, name or None)
        zarr_store.check_identity(store, stored, resolved[name], fingerprint)
    if missing:
        zarr_store.add_nodes(store, recipe, missing, fingerprint)
    for name in resolved.keys() - missing.keys():
        stored = zarr_store.node_attributes(store, name or None)
        resolved[name] = resolved[name].replace({"compute.block": stored["block"]})
        have = zarr_store.length(store, name or None)
        if recipe.realizations > have:
            zarr_store.extend(store, name or None, resolved[name], fingerprint)
        elif recipe.realizations < have:
            notice(
                f"store '{store}' has {have} realizations and keeps them; the first {recipe.realizations} are returned"
            )
    return resolved


def _compute(recipe: Recipe, part: range, dataset: datasets.Dataset, bar: Progress) -> dict[str, Any]:
    from moments_xr.propagation.block import compute_block, resolve_device

    arrays = compute_block(recipe, range(part.start, part.start + recipe.block), dataset, bar.layer)
    return cube.complete(arrays, resolve_device(recipe.compute.device).type)


def _in_memory(recipe: Recipe, dataset: datasets.Dataset, fingerprint: str | None, bar: Progress) -> xr.Dataset:
    blocks = []
    for part in _parts(recipe):
        arrays = {name: values[: len(part)] for name, values in _compute(recipe, part, dataset, bar).items()}
        blocks.append(cube.label(recipe, arrays, part))
        bar.block_done()
    ds = xr.concat(blocks, "realization", data_vars="minimal", coords="minimal", compat="override", join="override")
    return ds.assign_attrs(zarr_store.node_attrs(recipe, fingerprint))


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
