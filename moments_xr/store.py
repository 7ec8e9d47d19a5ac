"""Cubes in Zarr (DESIGN 4): template first, one block of realizations = one shard, `done` in a later call.

What is not `done` is not there. A store that is killed at any instant is finished by running again.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import cpu
from zarr.storage import MemoryStore

from moments_xr import cube
from moments_xr.errors import StoreError, WriteError
from moments_xr.recipe import Recipe, sweep_points

COORDINATE_CHUNK = 1 << 16
FAST = BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")
"""Of channel moments: read faster than Zstandard's, and nearly as small (`benchmarks/codecs.py`)."""

FEW_CHUNKS = 64
CHUNK_BYTES = 1 << 27
"""Above so many chunks, and up to so many bytes each, blocks are joined: a task of Dask costs about a millisecond."""


def open_cube(store: str | Path, complete: bool = True) -> xr.Dataset | xr.DataTree:
    """Open a store lazily: a Dataset, or a DataTree for a sweep. A chunk is a block; of many small blocks, several.

    Parameters
    ----------
    store
        Path of the store.
    complete
        Only realizations that are done; with False all of them, NaN where missing.

    Raises
    ------
    StoreError
        There is no cube, or one of a later schema.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.open_cube("stores/quickstart.zarr")  # doctest: +SKIP
    """
    attrs = read_attrs(store)
    _keep_freed_memory()
    if "sweep" not in attrs:
        return _open_node(store, None, complete)
    nodes = {
        name: _open_node(store, name, complete).assign_coords(point) for name, point in listed_points(attrs).items()
    }
    tree = xr.DataTree.from_dict(nodes)
    tree.attrs = attrs
    return tree


def _open_node(store: str | Path, group: str | None, complete: bool) -> xr.Dataset:
    ds: xr.Dataset = xr.open_zarr(store, group=group, chunks=None)
    if "done" not in ds:
        raise StoreError(f"store '{store}': damaged: it has no variable `done`")
    sizes = {"realization": _chunk(ds), "moment": 1}
    lazy = {
        name: values.variable.chunk({dim: size for dim, size in sizes.items() if dim in values.dims})
        for name, values in ds.data_vars.items()
    }
    done = ds["done"].values
    ds = ds.assign_coords({name: values.load() for name, values in ds.coords.items()}).assign(lazy)
    return ds.isel(realization=np.flatnonzero(done)) if complete and not done.all() else ds


def _keep_freed_memory() -> None:
    """Let the C library keep up to 64 MB of freed memory for what is allocated next, as it does once it freed 32 MB at once.

    Without, memory of every block that is decoded goes back to the system and comes anew, a page at a time, which takes
    half as long as reading does.
    """
    np.empty((1 << 25) - (1 << 16), dtype="u1")


def _chunk(ds: xr.Dataset) -> int:
    """Realizations of a chunk: a block, or as many as keep the chunks few without making them large."""
    count = ds.sizes["realization"]
    block = int(ds.attrs.get("block", count)) or 1
    one = max(values[:1].nbytes // values.sizes.get("moment", 1) for values in ds.data_vars.values())
    most = max(1, CHUNK_BYTES // (one * block))
    return block * min(most, max(1, -(-count // (block * FEW_CHUNKS))))


def read_attrs(store: str | Path) -> dict[str, Any]:
    """Attributes of a store's root, checked to be a cube's.

    Raises
    ------
    StoreError
        There is nothing, or something else, at that path; or its schema is newer than this package.
    """
    check_path(store)
    if not Path(store).exists():
        raise StoreError(f"store '{store}': no such store")
    try:
        with _quiet():
            attrs: dict[str, Any] = dict(zarr.open_group(store, mode="r").attrs)
    except (FileNotFoundError, ValueError, KeyError, NotADirectoryError) as error:
        raise StoreError(f"store '{store}': not a Zarr store of moments ({str(error).splitlines()[0]})") from None
    if "schema_version" not in attrs:
        raise StoreError(f"store '{store}': a Zarr store, but not of moments: it has no attribute schema_version")
    if not isinstance(attrs["schema_version"], int):
        raise StoreError(f"store '{store}': damaged: its schema_version is {attrs['schema_version']!r}, not a number")
    if attrs["schema_version"] > cube.SCHEMA_VERSION:
        raise StoreError(
            f"store '{store}': schema version {attrs['schema_version']} is newer than this package reads, {cube.SCHEMA_VERSION}"
        )
    return attrs


def check_path(store: str | Path) -> None:
    """Refuse what is not a path.

    Raises
    ------
    StoreError
        A URL.
    """
    if "://" in str(store):
        raise StoreError(f"store '{store}': a URL; stores are folders on this machine")


def node_recipe(store: str | Path, group: str | None) -> Recipe | None:
    """The recipe that a node was made by, with what was `auto` resolved; None if there is no such node.

    Raises
    ------
    StoreError
        The cube was not made by a recipe (imported results), or is damaged.
    """
    with _quiet():
        try:
            node = zarr.open_group(store, path=group, mode="r")
        except FileNotFoundError:
            return None
    if "recipe" not in node.attrs:
        raise StoreError(f"store '{store}': not made by a recipe, so nothing can be added to it; choose another store")
    if "done" not in node:
        raise StoreError(f"store '{store}': damaged: it has no variable `done`")
    return Recipe.from_json(str(node.attrs["recipe"]))


def create(store: str | Path, recipe: Recipe, nodes: Mapping[str, Recipe]) -> None:
    """Write the template: all metadata, no data. It appears at once, complete, or not at all.

    `nodes` are the sweep's recipes, with block and precision resolved (the recipe itself under "" without a sweep).
    """
    final = Path(store)
    partial = final.with_name(final.name + ".template")
    shutil.rmtree(partial, ignore_errors=True)
    with _quiet(), _said(store, "could not be made"):
        final.parent.mkdir(parents=True, exist_ok=True)
        if recipe.sweep is not None:
            zarr.create_group(partial, attributes=sweep_attrs(recipe))
        for name, node in nodes.items():
            _write_template(partial, name or None, node)
        if recipe.sweep is not None:
            zarr.consolidate_metadata(partial)
        partial.rename(final)


def _write_template(store: Path, group: str | None, recipe: Recipe) -> None:
    block = recipe.block
    ds = cube.empty(recipe, recipe.realizations, block, node_attrs(recipe))
    encoding: dict[str, dict[str, Any]] = {}
    for name in ds.variables:
        if "realization" not in ds[name].dims:
            if ds[name].dims == ("moment",) and name != "moment":
                encoding[str(name)] = {
                    "chunks": (1,)
                }  # as channel_moments, so that a plain open_zarr(...).chunks works
            continue
        chunks = (block, *ds[name].shape[1:]) if name != "realization" else (COORDINATE_CHUNK,)
        encoding[str(name)] = {"chunks": chunks, "compressors": (ZstdCodec(level=1), Crc32cCodec())}
        if name == "channel_moments":
            inner = tuple(1 if dim == "moment" else size for dim, size in zip(ds[name].dims, chunks, strict=True))
            encoding[str(name)] |= {"chunks": inner, "shards": chunks, "compressors": (FAST, Crc32cCodec())}
        if ds[name].dtype.kind == "f":
            encoding[str(name)]["_FillValue"] = np.nan
    ds.to_zarr(
        store,
        group=group,
        mode="w-" if group is None else "a",
        encoding=encoding,
        compute=False,
        zarr_format=3,
        consolidated=True,
    )


def node_attrs(recipe: Recipe) -> dict[str, Any]:
    """What a cube says of its making."""
    return {
        "recipe": recipe.to_json(),
        "recipe_identity": recipe.identity(),
        "schema_version": cube.SCHEMA_VERSION,
        "precision": recipe.compute.precision,
        "block": recipe.block,
        "moments_xr_version": metadata.version("moments-xr"),
        "torch_version": metadata.version("torch"),
        "numpy_version": np.__version__,
    }


def sweep_attrs(recipe: Recipe, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Attributes of a sweep's root: its points in the recipe's order, then others that were there `before`."""
    points = dict(zip(recipe.nodes(), sweep_points(recipe.sweep or {}), strict=True))
    others = {name: point for name, point in (before or {}).items() if name not in points}
    return {"recipe": recipe.to_json(), "schema_version": cube.SCHEMA_VERSION, "sweep": json.dumps(points | others)}


def listed_points(attrs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Nodes of a sweep, in order, and their points, from a root's attributes; none without a sweep."""
    points: dict[str, dict[str, Any]] = json.loads(attrs.get("sweep", "{}"))
    return points


def check_identity(store: str | Path, stored: Recipe, recipe: Recipe, but: Collection[str] = ()) -> None:
    """Refuse to go on with a store of another recipe; `but` are swept keys, which may differ.

    Raises
    ------
    StoreError
        Naming the keys that differ.
    """
    theirs, ours = _flat(stored.canonical()), _flat(recipe.canonical())
    differing = [
        f"{key} ({theirs.get(key, 'default')} there, {ours.get(key, 'default')} here)"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key) and not any(f"{key}.".startswith(f"{swept}.") for swept in but)
    ]
    if differing:
        raise StoreError(
            f"store '{store}': made by another recipe: {'; '.join(differing)}; choose another store, or delete this one"
        )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def length(store: str | Path, group: str | None) -> int:
    """Realizations that every reader sees, whether it opens the store or a node of it."""
    with _quiet():
        views = [zarr.open_group(store, path=group, mode="r")["done"]]
        if group is not None:
            views.append(zarr.open_group(store, mode="r")[f"{group}/done"])
    return min(int(view.shape[0]) for view in views)  # type: ignore[union-attr]


def interrupted(store: str | Path, group: str | None) -> bool:
    """Whether an extension was killed before readers could see it: arrays are longer than what they see."""
    with _quiet():
        node = zarr.open_group(store, path=group, mode="r", use_consolidated=False)
    return {array.shape[0] for _, array in _along_realizations(node)} != {length(store, group)}


def extend(store: str | Path, group: str | None, recipe: Recipe, sweep: Recipe) -> None:
    """Set the number of realizations: of every array, then of the coordinate, last in the metadata that readers see.

    `recipe` is the node's, `sweep` the recipe that has the sweep (the same without one). The partial last block stays as it is until it is computed again, to the same values.
    """
    with _quiet(), _said(store, "could not be extended"):
        node = zarr.open_group(store, path=group, mode="r+", use_consolidated=False)
        for name, array in _along_realizations(node):
            array.resize((recipe.realizations, *array.shape[1:]))
            if name == "realization":
                array[:] = np.arange(recipe.realizations)
        _publish(store, group, node_attrs(recipe))
        if group is not None:
            _publish(store, None, sweep_attrs(sweep, listed_points(read_attrs(store))))


def _along_realizations(node: zarr.Group) -> list[tuple[str, zarr.Array[Any]]]:
    arrays = [(n, a) for n, a in node.arrays() if "realization" in (getattr(a.metadata, "dimension_names", None) or ())]
    return sorted(arrays, key=lambda pair: pair[0] == "realization")


def add_nodes(store: str | Path, recipe: Recipe, nodes: Mapping[str, Recipe]) -> None:
    """Add nodes to a sweep's store, each appearing complete or not at all; last the root's metadata."""
    root = Path(store)
    with _quiet(), _said(store, "could not be extended"):
        for name, node in nodes.items():
            if not (root / name / "zarr.json").exists():
                partial = root.with_name(f"{root.name}.template")
                shutil.rmtree(partial, ignore_errors=True)
                _write_template(partial, None, node)
                partial.rename(root / name)
        _publish(store, None, sweep_attrs(recipe, listed_points(read_attrs(store))))


def _publish(store: str | Path, group: str | None, attrs: Mapping[str, Any]) -> None:
    """Rewrite what readers see of a group, attributes and consolidated metadata, in one atomic write."""
    root = Path(store) / (group or "")
    documents = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("zarr.json")}
    scratch = MemoryStore({key: cpu.Buffer.from_bytes(document) for key, document in documents.items()})
    zarr.open_group(scratch, mode="r+", use_consolidated=False).attrs.update(attrs)
    zarr.consolidate_metadata(scratch)
    partial = root / "zarr.json.partial"
    partial.write_bytes(scratch._store_dict["zarr.json"].to_bytes())
    partial.replace(root / "zarr.json")


def clean(store: str | Path) -> None:
    """Remove temporary files that a killed writer left."""
    for left in Path(store).rglob("*.partial"):
        left.unlink(missing_ok=True)


def pending(store: str | Path, group: str | None, block: int) -> list[range]:
    """Realizations of each block that is not done."""
    with _quiet():
        done = zarr.open_group(store, path=group, mode="r", use_consolidated=False)["done"][:]  # type: ignore[index]
    blocks = [range(start, min(start + block, len(done))) for start in range(0, len(done), block)]  # type: ignore[arg-type]
    return [part for part in blocks if not done[part.start : part.stop].all()]  # type: ignore[index,union-attr]


def stamp(store: str | Path) -> tuple[tuple[str, int], ...]:
    """What changes when a block of a store is done, or its shape changes; empty while there is nothing. Cheap to ask."""
    root = Path(store)
    watched = [*root.glob("zarr.json"), *root.glob("*/zarr.json"), *root.glob("done/c"), *root.glob("*/done/c")]
    return tuple(sorted((str(path.relative_to(root)), path.stat().st_mtime_ns) for path in watched))


def save(ds: xr.Dataset, store: str | Path) -> None:
    """Write a whole cube that was not made here (imported results), at once or not at all.

    Raises
    ------
    StoreError
        Something is at that path already.
    """
    check_path(store)
    final = Path(store)
    if final.exists():
        raise StoreError(f"store '{store}': is there already; choose another path, or delete it")
    partial = final.with_name(final.name + ".template")
    shutil.rmtree(partial, ignore_errors=True)
    final.parent.mkdir(parents=True, exist_ok=True)
    with _quiet(), _said(store, "could not be written"):
        ds.drop_encoding().to_zarr(partial, mode="w-", zarr_format=3, consolidated=True)
        partial.rename(final)


def write_block(store: str | Path, group: str | None, recipe: Recipe, part: range, arrays: Mapping[str, Any]) -> None:
    """Write one block: the data, and only when that has returned its `done` flags.

    Raises
    ------
    WriteError
        It could not be written; nothing that was done is lost.
    """
    kept = {name: values[: len(part)] for name, values in arrays.items()}
    ds = cube.label(recipe, kept, part)
    ds = ds.drop_vars(list(ds.coords))
    region = {"realization": slice(part.start, part.stop)}
    with _quiet():
        node = zarr.open_group(store, path=group, mode="r", use_consolidated=False)
    ds = ds.drop_vars([name for name in ds.data_vars if str(name) not in node])  # a store of earlier days may lack some
    with _said(store, f"realizations {part.start} to {part.stop - 1} could not be written"):
        for piece in (ds.drop_vars("done"), ds[["done"]]):
            piece.to_zarr(store, group=group, region=region, mode="r+", consolidated=False)


@contextmanager
def _said(store: str | Path, what: str) -> Iterator[None]:
    """Say in a line that a write failed (a full disk, say), and that nothing is lost."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"store '{store}': {what} ({error}); run again to go on") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Zarr warns when it writes or reads consolidated metadata of format 3, which every reader here understands."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Cc]onsolidated metadata.*")
        yield
