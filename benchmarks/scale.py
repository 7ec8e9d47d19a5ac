"""Analysis of cubes that are larger than memory: peak memory, time and bytes read, beside one plain read.

`python benchmarks/scale.py [--folder F] [--gigabytes 23.5] [--realizations 1000000]` makes two synthetic stores in a
temporary folder, deletes them after, and prints a table. Each function runs in a process of its own, which counts the bytes
that it gets from the store and reports its peak memory; the same process reads the arrays that the function reads plainly,
for their greatest value, before and after: the mean of both is the measure of time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np
import xarray as xr

import moments_xr as mx
from moments_xr import cube, store
from moments_xr.analysis.report import ANALYSES
from moments_xr.quantities import scale_orders

FUNCTIONS: dict[str, Callable[[xr.Dataset], xr.Dataset | xr.DataArray]] = {
    "summary": mx.summary,
    "decompose": ANALYSES["decompose chi"],
    "fit_lognormal": mx.fit_lognormal,
    "fit_growth": mx.fit_growth,
    "check_theorems": mx.check_theorems,
    "classify": mx.classify,
    "channel_fluctuation": mx.channel_fluctuation,
}

USED = {"channel_fluctuation": ["nu2_signal"], "decompose": ["mu2_signal", "mu2_noise"]}
"""Of channel moments, which inner chunks a function uses."""


def make(path: Path, recipe: mx.Recipe) -> None:
    """A store of the recipe's shape, full of moments that random walks along the depth have."""
    store.create(path, recipe, {"": recipe})
    rng = np.random.default_rng(0)
    layers, sites, width = len(recipe.layers), len(recipe.sites), recipe.network.width
    names = list(cube.labels(recipe)["pooled_moment"])
    channels = rng.gamma(4.0, 0.25, (recipe.block, layers, sites, len(recipe.moments), width)).astype("f4")
    for start in range(0, recipe.realizations, recipe.block):
        part = range(start, min(start + recipe.block, recipe.realizations))
        walks = rng.normal(0, 0.05, (2, recipe.block, layers)).cumsum(-1)
        walks[1] += 0.2 * np.asarray(recipe.layers)
        logs = np.zeros((recipe.block, layers, sites, len(names)))
        for k, name in enumerate(names):
            orders = scale_orders(name)
            logs[..., k] = sum(0.5 * order * walk for order, walk in zip(orders, walks, strict=True))[..., None]
            logs[..., k] += rng.normal(-1.0, 0.02, logs.shape[:-1])
        logs[..., 0, :] *= 0.99
        logs[..., names.index("nu2_signal")] = logs[..., names.index("mu2_signal")] + 0.3
        logs[..., names.index("nu1_plus_minus_signal")] = logs[..., names.index("mu2_signal")] - np.log(2 * np.pi)
        arrays = {
            "pooled_moments": np.exp(logs),
            "log_signal_scale": np.zeros((recipe.block, layers)),
            "log_noise_scale": np.zeros((recipe.block, layers)),
            "input_mu2_signal": np.ones(recipe.block),
            "reff_signal": 5 + rng.random((recipe.block, layers, sites), dtype="f4"),
            "reff_noise": 5 + rng.random((recipe.block, layers, sites), dtype="f4"),
        }
        if recipe.measure.channels == "all":
            arrays["channel_moments"] = np.roll(channels, start, -1)
        store.write_block(path, None, recipe, part, cube.complete(arrays, "cpu"))


def measure(path: Path, name: str) -> dict[str, float]:
    """Peak memory, time and bytes of one function; and time and bytes of one read of the arrays that it used."""
    from zarr.storage import LocalStore

    read, arrays, plain = 0, set(), LocalStore.get

    async def counted(self, key, prototype, byte_range=None):  # type: ignore[no-untyped-def]
        nonlocal read
        found = await plain(self, key, prototype, byte_range)
        read += len(found) if found is not None else 0
        arrays.add(key.split("/")[0])
        return found

    def timed(compute: Callable[[], object]) -> tuple[float, int]:
        nonlocal read
        start, read = time.perf_counter(), 0
        compute()
        return time.perf_counter() - start, read

    def once() -> object:
        chosen = {variable: ds[variable] for variable in used}
        if "channel_moments" in used:
            chosen["channel_moments"] = ds["channel_moments"].sel(moment=USED[name])
        return dask.compute(*(values.max() for values in chosen.values()))

    LocalStore.get = counted  # type: ignore[method-assign]
    ds = mx.open_cube(path)
    arrays.clear()
    FUNCTIONS[name](ds).compute()  # fills the cache of files, and tells what is used
    used = arrays & set(ds.data_vars)
    before, (seconds, size), after = timed(once), timed(lambda: FUNCTIONS[name](ds).compute()), timed(once)
    status = Path("/proc/self/status").read_text()  # of this program only, unlike getrusage
    peak = float(status.split("VmHWM:")[1].split()[0]) / 1e6
    return {
        "seconds": seconds,
        "bytes": size,
        "once": (before[0] + after[0]) / 2,
        "once_bytes": before[1],
        "peak": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=23.5, help="before compression, of the first store")
    parser.add_argument("--realizations", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=2, metavar=("STORE", "FUNCTION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1])))
        return
    network = {"architecture": "bn_ff", "depth": 100, "width": 512, "kernel": 1}
    wide = mx.Recipe(
        name="channels", realizations=8 * round(options.gigabytes * 1e9 / (8 * 100 * 4 * 7 * 512 * 4)), network=network,
        input={"dataset": "gaussian", "shape": [512]}, measure={"channels": "all"}, compute={"block": 8, "precision": "float32"},
    )  # fmt: skip
    many = mx.Recipe(
        name="pooled", realizations=options.realizations, network={**network, "depth": 20, "architecture": "vanilla"},
        input={"dataset": "gaussian", "shape": [512]}, compute={"block": 1000, "precision": "float32"},
    )  # fmt: skip
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        for recipe in (wide, many):
            path = folder / f"{recipe.name}.zarr"
            start = time.perf_counter()
            make(path, recipe)
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e9
            print(
                f"\n{recipe.name}: {recipe.realizations} realizations, {size:.1f} GB on disk, made in {time.perf_counter() - start:.0f} s"
            )
            print(
                f"{'function':<22}{'peak memory':>13}{'time':>9}{'one read':>10}{'ratio':>7}{'read':>9}{'ratio of bytes':>16}"
            )
            for name in FUNCTIONS:
                if name == "channel_fluctuation" and recipe is many:
                    continue
                command = [sys.executable, __file__, "--measure", str(path), name]
                found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                print(
                    f"{name:<22}{found['peak']:>10.2f} GB{found['seconds']:>7.1f} s{found['once']:>8.1f} s"
                    f"{found['seconds'] / found['once']:>7.2f}{found['bytes'] / 1e9:>6.2f} GB"
                    f"{found['bytes'] / found['once_bytes']:>16.2f}",
                    flush=True,
                )
            shutil.rmtree(path)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
