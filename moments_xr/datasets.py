"""Where input signals come from: one row a data set, each an array ``(sample, *space, channel)`` or a law to draw from.

Data are read, never unpickled, never downloaded. Messages name the recipe's key, the value and the rule.
"""

import difflib
import functools
import gzip
import hashlib
import importlib
import importlib.util
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moments_xr.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Samples of one shape, drawn by a random stream."""

    shape: tuple[int, ...]
    """(*space, channel) of one sample, before flattening; (features,) without space."""
    size: int | None
    """Number of samples; None for a law."""
    take: Callable[[np.random.Generator, int], NDArray[np.float32]]
    """(rng, batch) -> raw samples (batch, *space, channel), no sample twice in a batch."""


@dataclass(frozen=True)
class Source:
    """A row of the registry."""

    name: str
    description: str
    read: Callable[..., Any] | None
    """Gives all samples as one array, from the path if it needs one; None for a law."""
    needs_path: bool = False
    needs_shape: bool = False
    shape: tuple[int, ...] | None = None
    """Shape of a sample where the data set's name tells it."""


def load(
    name: str,
    *,
    path: str | Path | None = None,
    shape: tuple[int, ...] | None = None,
    spectrum: float | None = None,
) -> Dataset:
    """Data set of that name, ready to sample.

    Parameters
    ----------
    name : str
        A key of `DATASETS`.
    path : str or Path, optional
        File or folder of the data, for the data sets that need one; ``~`` is expanded.
    shape : tuple of int, optional
        ``(*space, channels)`` or ``(features,)``, for a law.
    spectrum : float, optional
        Exponent alpha >= 0 of the law's power spectrum 1/f^alpha over space (over the features without space); white
        by default.

    Raises
    ------
    DataError
        Unknown name, missing or damaged data, an option missing or out of place.
    ImportError
        The package that ships or reads the data is not installed.

    Examples
    --------
    >>> dataset = load("gaussian", shape=(8, 8, 3), spectrum=2.0)
    >>> dataset.take(np.random.default_rng(0), 5).shape
    (5, 8, 8, 3)
    """
    source = _source(name)
    if source.needs_shape and shape is None:
        raise DataError(f"input.shape: data set '{name}' needs one, [*space, channels] or [features]")
    for key, value, used in (
        ("path", path, source.needs_path),
        ("shape", shape, source.needs_shape),
        ("spectrum", spectrum, source.needs_shape),
    ):
        if value is not None and not used:
            raise DataError(f"input.{key}: {value} has no meaning for data set '{name}'; leave it out")
    if shape is not None:
        return _gaussian(tuple(shape), spectrum or 0.0)
    return _from_array(name, _read(source, path))


def from_array(array: Any) -> Dataset:
    """Data set of an array ``(sample, *space, channel)`` or ``(sample, feature)``, NumPy-like or Zarr.

    Raises
    ------
    DataError
        Not 2 to 5 dimensions, an empty one, or not real numbers.

    Examples
    --------
    >>> from_array(np.zeros((10, 4, 4, 3))).shape
    (4, 4, 3)
    """
    return _from_array("array", array)


def standardise(x: ArrayLike, flatten: bool) -> NDArray[np.float32]:
    """Samples with mean 0 and variance 1 in each channel, over the batch and all positions (THEORY 1).

    Parameters
    ----------
    x : array (batch, *space, channel)
    flatten : bool
        Make every value of a sample a channel of its own (the fully-connected case).

    Returns
    -------
    array (batch, *space, channel), or (batch, features) when flattened
        float32. A channel that is constant over the batch is exactly 0.

    Raises
    ------
    DataError
        A value is NaN or infinite, or no channel varies.

    Examples
    --------
    >>> standardise([[1.0, 7.0], [3.0, 7.0]], flatten=True).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    z = np.asarray(x, dtype=np.float64)
    if flatten:
        z = z.reshape(len(z), -1)
    for what, bad in (("NaN", np.isnan(z)), ("infinite", np.isinf(z))):
        if bad.any():
            raise DataError(f"input: {bad.sum()} of the {z.size} values drawn are {what}; all must be finite")
    axes = tuple(range(z.ndim - 1))
    low, high = z.min(axes), z.max(axes)
    varies = high > low
    if not varies.any():
        raise DataError(
            "input: no channel varies over the batch, so there is nothing to propagate "
            "(a single sample never varies when fully connected: input.batch must be at least 2)"
        )
    z = (z - low) / np.where(varies, high - low, 1.0)
    z -= z.mean(axes)
    z /= np.where(varies, z.std(axes), 1.0)
    return np.asarray(z, dtype=np.float32)


def fingerprint(name: str, path: str | Path | None) -> str:
    """SHA-256 of the samples that `load` reads: their values, shape and dtype, whatever the files' names and packing.

    Raises
    ------
    DataError
        Missing or damaged data, or a law, which has none.
    """
    source = _source(name)
    if source.read is None:
        raise DataError(f"input.dataset: '{name}' is a law, without data to fingerprint")
    return fingerprint_array(_read(source, path))


def fingerprint_array(array: Any) -> str:
    """SHA-256 of an array's values, shape and dtype; that of data set ``array`` for a file with this content.

    Raises
    ------
    DataError
        A value is NaN or infinite.

    Examples
    --------
    >>> fingerprint_array(np.zeros((2, 3))) == fingerprint_array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    True
    """
    array = _checked("array", array)
    dtype = array.dtype.newbyteorder("<")
    digest = hashlib.sha256(f"{dtype.str} {tuple(map(int, array.shape))}\n".encode())
    step = max(1, _HASHED_BYTES // (dtype.itemsize * math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], step):
        part = np.ascontiguousarray(array[start : start + step], dtype=dtype)
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            raise DataError(
                f"input: samples {start} to {start + len(part) - 1} hold NaN or infinite values; all must be finite"
            )
        digest.update(part.data)
    return digest.hexdigest()


_HASHED_BYTES = 2**26
"""Read at once, so that data larger than memory can be hashed."""


def _source(name: str) -> Source:
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise DataError(f"input.dataset: '{name}' is not one of {', '.join(DATASETS)}{hint}")
    return DATASETS[name]


def _read(source: Source, path: str | Path | None) -> Any:
    assert source.read is not None
    if not source.needs_path:
        return source.read()
    if path is None:
        raise DataError(f"input.path: data set '{source.name}' needs one: {source.description}")
    return source.read(Path(path).expanduser())


def _from_array(name: str, array: Any) -> Dataset:
    array = _checked(name, array)
    size, *shape = map(int, array.shape)
    return Dataset(tuple(shape), size, functools.partial(_sample, name, array))


def _checked(name: str, array: Any) -> Any:
    if not isinstance(getattr(array, "dtype", None), np.dtype):
        array = np.asarray(array)
    if not 2 <= array.ndim <= 5 or 0 in array.shape:
        raise DataError(
            f"input.dataset: data set '{name}' of shape {tuple(array.shape)} is not (sample, *space, channel) "
            "with 0 to 3 dimensions of space, none empty"
        )
    if array.dtype.kind not in "iuf":
        raise DataError(f"input.dataset: data set '{name}' of dtype {array.dtype} is not of integers or real numbers")
    return array


def _sample(name: str, array: Any, rng: np.random.Generator, batch: int) -> NDArray[np.float32]:
    size = int(array.shape[0])
    if batch > size:
        raise DataError(f"input.batch: {batch} is more than the {size} samples of data set '{name}'")
    rows = rng.choice(size, batch, replace=False)
    return np.asarray(getattr(array, "oindex", array)[rows], dtype=np.float32)


def _gaussian(shape: tuple[int, ...], spectrum: float) -> Dataset:
    if not 1 <= len(shape) <= 4 or not all(isinstance(n, int) and n >= 1 for n in shape):
        raise DataError(f"input.shape: {list(shape)} is not [*space, channels] or [features], each at least 1")
    if not 0 <= spectrum < math.inf:
        raise DataError(f"input.spectrum: {spectrum} is not a finite exponent of at least 0")
    return Dataset(shape, None, functools.partial(_draw, shape, spectrum))


def _draw(shape: tuple[int, ...], spectrum: float, rng: np.random.Generator, batch: int) -> NDArray[np.float32]:
    x = rng.standard_normal((batch, *shape))
    if spectrum:
        space = shape[:-1] or shape
        axes = tuple(range(1, 1 + len(space)))
        amplitude = _amplitude(space, spectrum).reshape(space + (1,) * (len(shape) - len(space)))
        x = np.fft.ifftn(np.fft.fftn(x, axes=axes) * amplitude, axes=axes).real
    return x.astype(np.float32)


def _amplitude(space: tuple[int, ...], spectrum: float) -> NDArray[np.float64]:
    """f^(-alpha/2) with mean square 1; frequency zero takes the lowest other one's."""
    f = np.linalg.norm(np.meshgrid(*map(np.fft.fftfreq, space), indexing="ij"), axis=0)
    lowest = f.min(where=f > 0, initial=1.0)
    amplitude = (np.maximum(f, lowest) / lowest) ** (-spectrum / 2)
    return np.asarray(amplitude / np.sqrt(np.mean(amplitude**2)))


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module) from error


def _missing(module: str) -> ImportError:
    return ImportError(f'{module} is missing, which this data set needs: pip install "moments-xr[run]"')


_PHOTOS = {
    "skimage": tuple(
        f"data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}
_SCALES = (1, 2, 3, 4, 6, 8)
_GRID = 24
"""Pixels of the photograph between neighbouring crops, at any scale; a multiple of each scale."""
_FLAT = 16.0
"""Least standard deviation of a crop's grey values, of 255."""


@functools.cache
def _photos() -> NDArray[np.uint8]:
    """Overlapping 32 x 32 crops on a grid of each photograph seen at each scale, without those that are nearly flat."""
    imread = _import("skimage.io").imread
    photos = [imread(_shipped(package, file)) for package, files in _PHOTOS.items() for file in files]
    crops = np.concatenate([_crops(photo, scale) for photo in photos for scale in _SCALES])
    crops.flags.writeable = False
    return crops


def _shipped(package: str, file: str) -> Path:
    """A file inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package)
    path = Path(spec.submodule_search_locations[0], file)
    if not path.is_file():
        raise DataError(f"input.dataset: 'photos' needs '{file}', which the installed {package} does not ship")
    return path


def _crops(photo: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    height, width = (n // scale for n in photo.shape[:2])
    blocks = photo[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
    image = blocks.mean((1, 3)).round().astype(np.uint8)
    step = _GRID // scale
    windows = np.lib.stride_tricks.sliding_window_view(image, (32, 32), axis=(0, 1))[::step, ::step]
    crops = windows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(crops[crops.mean(-1).std((1, 2)) >= _FLAT])


@functools.cache
def _digits() -> NDArray[np.uint8]:
    images = _import("sklearn.datasets").load_digits().images.astype(np.uint8)[..., None]
    images.flags.writeable = False
    return np.asarray(images)


_CIFAR10_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_CIFAR10_RECORD = 1 + 3 * 32 * 32


def _cifar10(path: Path) -> NDArray[np.uint8]:
    folder = path / _CIFAR10_FOLDER if (path / _CIFAR10_FOLDER).is_dir() else path
    files = [folder / name for name in _CIFAR10_FILES]
    if absent := [file.name for file in files if not file.is_file()]:
        raise DataError(
            f"input.path: no {', '.join(absent)} in '{folder}' (nor in a folder {_CIFAR10_FOLDER} there); unpack the "
            '"CIFAR-10 binary version" of https://www.cs.toronto.edu/~kriz/cifar.html and give its folder'
        )
    sizes = [file.stat().st_size for file in files]
    for file, size in zip(files, sizes, strict=True):
        if size == 0 or size % _CIFAR10_RECORD or size != max(sizes):
            raise DataError(
                f"input.path: '{file}' has {size} bytes; the five files must hold the same whole number of records "
                f"of {_CIFAR10_RECORD} bytes (CIFAR-10: 30730000 bytes each), so it is truncated or another file"
            )
    records = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, _CIFAR10_RECORD) for file in files])
    if (label := records[:, 0].max()) > 9:
        raise DataError(
            f"input.path: '{folder}' holds label {label}; CIFAR-10 has 0 to 9, so it is damaged or other data"
        )
    return records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


_MNIST_FILES = tuple(f"train-images{sep}idx3-ubyte{end}" for sep in "-." for end in ("", ".gz"))
_MNIST_MAGIC = 2051


def _mnist(path: Path) -> NDArray[np.uint8]:
    file = next((path / name for name in _MNIST_FILES if (path / name).is_file()), None)
    if file is None:
        raise DataError(
            f"input.path: no training images in '{path}' (looked for {', '.join(_MNIST_FILES)}); get the MNIST IDX files "
            "from one of the mirrors of the original page, http://yann.lecun.com/exdb/mnist, which is gone"
        )
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        magic, *shape = struct.unpack_from(">4I", content)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"input.path: '{file}' is truncated or damaged: {error}") from error
    if magic != _MNIST_MAGIC:
        raise DataError(f"input.path: '{file}' begins with {magic}; an IDX file of images begins with {_MNIST_MAGIC}")
    if len(content) - 16 != math.prod(shape):
        raise DataError(
            f"input.path: '{file}' has {len(content) - 16} bytes of pixels; its header says {math.prod(shape)} "
            f"({' x '.join(map(str, shape))}), so it is truncated or damaged"
        )
    return np.frombuffer(content, np.uint8, offset=16).reshape(*shape, 1)


def _array(path: Path) -> Any:
    if not path.exists():
        raise DataError(f"input.path: '{path}' does not exist; data set 'array' needs {DATASETS['array'].description}")
    if path.is_file() and path.suffix not in (".npy", ".npz"):
        raise DataError(f"input.path: '{path}' is not {DATASETS['array'].description}")
    try:
        return _zarr(path) if path.is_dir() else _numpy(path)
    except DataError:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"input.path: '{path}' cannot be read; it is truncated, damaged or holds pickled objects, "
            f"which are never loaded ({str(error).partition('. ')[0]})"
        ) from error


def _numpy(path: Path) -> Any:
    content = np.load(path, mmap_mode="r", allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content
    with content:
        return content[_only(path, content.files)]


def _zarr(path: Path) -> Any:
    zarr = _import("zarr")
    node = zarr.open(path, mode="r")
    return node if isinstance(node, zarr.Array) else node[_only(path, sorted(node.array_keys()))]


def _only(path: Path, names: list[str]) -> str:
    chosen = names if len(names) == 1 else [name for name in names if name in ("signal", "data")]
    if len(chosen) != 1:
        raise DataError(
            f"input.path: '{path}' holds {len(names)} arrays ({', '.join(names)}); "
            "it must hold one, or one named signal or data"
        )
    return chosen[0]


DATASETS: dict[str, Source] = {
    row.name: row
    for row in (
        Source("gaussian", "standard normal values, white or with a power-law spectrum", None, needs_shape=True),
        Source(
            "photos",
            "32 x 32 colour crops of seven photographs that installed packages ship",
            _photos,
            shape=(32, 32, 3),
        ),
        Source("digits", "8 x 8 handwritten digits that scikit-learn ships", _digits, shape=(8, 8, 1)),
        Source(
            "cifar10",
            "a folder with the files of the CIFAR-10 binary version",
            _cifar10,
            needs_path=True,
            shape=(32, 32, 3),
        ),
        Source(
            "mnist", "a folder with the MNIST IDX files, gzipped or not", _mnist, needs_path=True, shape=(28, 28, 1)
        ),
        Source("array", "an array (sample, *space, channel): .npy, .npz or a Zarr folder", _array, needs_path=True),
    )
}
