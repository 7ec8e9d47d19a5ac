"""Codecs and inner chunks of channel moments: size on disk, and speed of writing and of reading one moment of all.

`python benchmarks/codecs.py` makes real moments (20 batch-normalised nets, width 256), writes them with each choice in one
run, and prints ratios and rates. Stores use the line marked with *.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

import moments_xr as mx

BLOCK, REPEATS = 8, 3


def blosc(name: str, shuffle: str) -> BloscCodec:
    return BloscCodec(cname=name, clevel=1, shuffle=shuffle, typesize=4)  # type: ignore[arg-type]


CODECS: dict[str, tuple[Any, ...]] = {
    "none": (),
    "crc32c": (Crc32cCodec(),),
    "zstd 1, crc32c": (ZstdCodec(level=1), Crc32cCodec()),
    "zstd 3, crc32c": (ZstdCodec(level=3), Crc32cCodec()),
    "* lz4, shuffle, crc32c": (blosc("lz4", "shuffle"), Crc32cCodec()),
    "lz4, bitshuffle, crc32c": (blosc("lz4", "bitshuffle"), Crc32cCodec()),
    "blosc zstd, bitshuffle, crc32c": (blosc("zstd", "bitshuffle"), Crc32cCodec()),
}

INNER = {"* one moment": 3, "one site": 2, "whole block": None}
"""Axis of (realization, layer, site, moment, channel) along which inner chunks have one entry."""


def measure(path: Path, moments: np.ndarray, codecs: tuple[Any, ...], axis: int | None) -> tuple[float, float, float]:
    """Compression ratio, and GB/s of the array written and of one moment read."""
    block = (BLOCK, *moments.shape[1:])
    inner = tuple(1 if k == axis else size for k, size in enumerate(block))
    array = zarr.create_array(
        path, shape=moments.shape, dtype=moments.dtype, chunks=inner, shards=block, compressors=codecs or None
    )
    start = time.perf_counter()
    array[:] = moments
    written = time.perf_counter() - start
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    read = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        one = zarr.open_array(path, mode="r")[:, :, :, 2]
        read.append(time.perf_counter() - start)
    return moments.nbytes / stored, moments.nbytes / written / 1e9, one.nbytes / min(read) / 1e9  # type: ignore[union-attr]


def main() -> None:
    changes = {"realizations": 20, "network.width": 256, "measure.channels": "all", "measure.every": 1}
    cube = mx.run(mx.recipe("quickstart", changes), progress=False)
    moments = np.concatenate([cube["channel_moments"].values * np.float32(1 + 1e-3 * k) for k in range(4)])
    print(f"{moments.nbytes / 1e9:.2f} GB of channel moments; one moment is {100 / moments.shape[3]:.0f} % of them")
    print(f"{'codec':<32}{'inner chunk':<16}{'ratio':>7}{'write':>12}{'read one moment':>18}")
    choices = [(codec, "* one moment") for codec in CODECS] + [("* lz4, shuffle, crc32c", inner) for inner in INNER]
    with tempfile.TemporaryDirectory() as folder:
        for k, (codec, inner) in enumerate(dict.fromkeys(choices)):
            found = measure(Path(folder) / f"{k}.zarr", moments, CODECS[codec], INNER[inner])
            print(f"{codec:<32}{inner:<16}{found[0]:>7.2f}{found[1]:>7.2f} GB/s{found[2]:>13.2f} GB/s", flush=True)


if __name__ == "__main__":
    main()
