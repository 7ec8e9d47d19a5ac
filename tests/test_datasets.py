import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from moments_xr import datasets
from moments_xr.datasets import (
    DATASETS,
    DataError,
    fingerprint,
    fingerprint_array,
    from_array,
    load,
    standardise,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
DIGITS = RNG.integers(0, 256, (12, 28, 28), dtype=np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def everything(dataset):
    """All samples, in the order of their first values."""
    x = dataset.take(rng(), dataset.size)
    return x[np.lexsort(x.reshape(len(x), -1).T)]


def ordered(array):
    return everything(from_array(array))


def write_cifar10(folder, images=IMAGES):
    folder.mkdir(parents=True, exist_ok=True)
    for i, batch in enumerate(np.split(images, 5), start=1):
        pixels = batch.transpose(0, 3, 1, 2).reshape(len(batch), 3072)
        labels = np.arange(len(batch), dtype=np.uint8)[:, None] % 10
        np.concatenate([labels, pixels], axis=1).tofile(folder / f"data_batch_{i}.bin")
    return folder


def idx(images=DIGITS, magic=2051):
    return struct.pack(">4I", magic, *images.shape) + images.tobytes()


def write_array(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, array)
    else:
        zarr.create_array(path, data=array, chunks=(3, *array.shape[1:]))
    return path


class Trap:
    """An object that, unpickled, creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@given(size=st.integers(1, 40), seed=st.integers(0, 2**32), data=st.data())
def test_samples_are_distinct_and_reproducible(size, seed, data):
    batch = data.draw(st.integers(1, size))
    dataset = from_array(np.arange(size * 2).reshape(size, 1, 2))
    x = dataset.take(rng(seed), batch)
    assert x.shape == (batch, 1, 2) and x.dtype == np.float32
    assert len(np.unique(x[:, 0, 0])) == batch
    np.testing.assert_array_equal(x, dataset.take(rng(seed), batch))


def test_every_sample_is_as_likely():
    n, draws = 10, 4000
    dataset = from_array(np.arange(n)[:, None])
    stream = rng()
    counts = np.bincount(np.concatenate([dataset.take(stream, 3)[:, 0] for _ in range(draws)]).astype(int))
    p = 3 / n
    assert np.abs(counts - draws * p).max() < 5 * np.sqrt(draws * p * (1 - p))


def test_more_samples_than_there_are():
    with pytest.raises(DataError, match=r"^input\.batch: 128 is more than the 100 samples of data set 'array'$"):
        from_array(np.zeros((100, 3))).take(rng(), 128)


def test_a_data_set_survives_pickling(tmp_path):
    dataset = load("array", path=write_array(tmp_path / "x.npy", IMAGES))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.take(rng(), 4), dataset.take(rng(), 4))


def test_gaussian_is_white_and_standard_normal():
    dataset = load("gaussian", shape=(8, 8, 3))
    assert dataset.shape == (8, 8, 3) and dataset.size is None
    x = dataset.take(rng(), 500)
    assert x.shape == (500, 8, 8, 3) and x.dtype == np.float32
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / x.size)
    np.testing.assert_array_equal(x, dataset.take(rng(), 500))
    np.testing.assert_array_equal(x, load("gaussian", shape=(8, 8, 3), spectrum=0.0).take(rng(), 500))


@pytest.mark.parametrize("shape", [(64,), (64, 2), (12, 16, 2), (6, 4, 8, 2)])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_power_law_spectrum(shape, alpha):
    """Power at each frequency, in units of its expectation, is a mean of independent squares: variance at most 2/count."""
    space, channels = (shape, 1) if len(shape) == 1 else (shape[:-1], shape[-1])
    count = 2000 * channels
    x = load("gaussian", shape=shape, spectrum=alpha).take(rng(), 2000).reshape(2000, *space, channels)
    axes = tuple(range(1, 1 + len(space)))
    power = (np.abs(np.fft.fftn(x, axes=axes, norm="ortho")) ** 2).mean((0, -1))
    f = np.sqrt(sum(g**2 for g in np.meshgrid(*(np.fft.fftfreq(n) for n in space), indexing="ij")))
    f.flat[0] = 1 / max(space)
    expected = f**-alpha / np.mean(f**-alpha)
    assert np.abs(power / expected - 1).max() < 5 * np.sqrt(2 / count)
    assert abs(x.astype(float).var() - 1) < 5 * np.sqrt(2 * np.mean(expected**2) / (count * np.prod(space)))


def test_gaussian_spectrum_extremes():
    assert np.isfinite(load("gaussian", shape=(32, 32, 1), spectrum=2000.0).take(rng(), 4)).all()
    x = load("gaussian", shape=(1, 1, 5), spectrum=2.0).take(rng(), 4)
    np.testing.assert_allclose(x, load("gaussian", shape=(1, 1, 5)).take(rng(), 4), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"^input\.shape: data set 'gaussian' needs one, \[\*space, channels\] or \[features\]$"),
        ({"shape": (0, 3)}, r"^input\.shape: \[0, 3\] is not .* each at least 1$"),
        ({"shape": (2, 2, 2, 2, 3)}, r"^input\.shape: \[2, 2, 2, 2, 3\] is not"),
        ({"shape": ()}, r"^input\.shape: \[\] is not"),
        ({"shape": (4,), "spectrum": -1.0}, r"^input\.spectrum: -1\.0 is not a finite exponent of at least 0$"),
        ({"shape": (4,), "spectrum": float("nan")}, r"^input\.spectrum: nan is not"),
    ],
)
def test_gaussian_refuses(options, message):
    with pytest.raises(DataError, match=message):
        load("gaussian", **options)


def test_photos():
    dataset = load("photos")
    assert dataset.shape == (32, 32, 3) and 5000 <= dataset.size <= 20000
    x = dataset.take(rng(), 1000)
    assert x.min() >= 0 and x.max() <= 255
    assert x.mean(-1).std((1, 2)).min() >= datasets._FLAT
    assert len(np.unique(x.reshape(1000, -1), axis=0)) == 1000
    np.testing.assert_array_equal(x, load("photos").take(rng(), 1000))


def test_photos_are_natural():
    """Neighbouring pixels of a natural image resemble one another, and its colours vary together."""
    x = load("photos").take(rng(), 1000)
    x -= x.mean((0, 1, 2))
    assert (x[:, 1:] * x[:, :-1]).mean() > 0.85 * (x**2).mean()
    assert np.corrcoef(x.reshape(-1, 3).T).min() > 0.5


def test_photos_stay_off_the_network():
    code = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError("network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from moments_xr import datasets
assert datasets.load("photos").size
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(datasets.__file__).parents[1])


def test_crops_are_means_over_blocks_on_a_grid():
    photo = rng().integers(0, 256, (101, 130, 3), dtype=np.uint8)
    crops = datasets._crops(photo, 2)
    assert crops.shape == (2 * 3, 32, 32, 3)
    expected = photo[24:88, 48:112].reshape(32, 2, 32, 2, 3).mean((1, 3)).round()
    np.testing.assert_array_equal(crops[1 * 3 + 2], expected)


def test_flat_crops_are_dropped():
    photo = np.full((32, 64, 3), 7, dtype=np.uint8)
    photo[:, 40:] = 255
    assert len(datasets._crops(photo, 1)) == 1


def test_digits():
    from sklearn.datasets import load_digits

    dataset = load("digits")
    assert (dataset.shape, dataset.size) == ((8, 8, 1), 1797)
    np.testing.assert_array_equal(everything(dataset), ordered(load_digits().images[..., None]))


@pytest.mark.parametrize(
    ("name", "module"), [("photos", "skimage"), ("photos", "sklearn"), ("digits", "sklearn.datasets")]
)
def test_a_missing_package_is_named(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    if module == "skimage":
        monkeypatch.delitem(sys.modules, "skimage.io", raising=False)
    monkeypatch.setitem(DATASETS, name, datasets.Source(name, "", DATASETS[name].read.__wrapped__))
    with pytest.raises(ImportError, match=rf'^{module}.* is missing.*: pip install "moments-xr\[run\]"$'):
        load(name)


def test_a_missing_photograph_is_named():
    with pytest.raises(DataError, match=r"'photos' needs 'data/none\.png', which the installed skimage does not ship"):
        datasets._shipped("skimage", "data/none.png")


@pytest.mark.parametrize("folder", [".", "cifar-10-batches-bin"])
def test_cifar10(tmp_path, folder):
    write_cifar10(tmp_path / folder)
    dataset = load("cifar10", path=tmp_path)
    assert (dataset.shape, dataset.size) == ((32, 32, 3), 20)
    np.testing.assert_array_equal(everything(dataset), ordered(IMAGES))


def test_cifar10_missing(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"^input\.path: no data_batch_3\.bin in '.*'.*cifar-10-batches-bin") as error:
        load("cifar10", path=tmp_path)
    assert '"CIFAR-10 binary version" of https://www.cs.toronto.edu/~kriz/cifar.html' in str(error.value)


@pytest.mark.parametrize("size", [0, 3073, 4 * 3073 - 1])
def test_cifar10_truncated(tmp_path, size):
    file = write_cifar10(tmp_path) / "data_batch_2.bin"
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(DataError, match=rf"^input\.path: '.*data_batch_2\.bin' has {size} bytes; .*3073.*truncated"):
        load("cifar10", path=tmp_path)


def test_cifar10_with_impossible_labels(tmp_path):
    file = write_cifar10(tmp_path) / "data_batch_5.bin"
    file.write_bytes(b"\xff" + file.read_bytes()[1:])
    with pytest.raises(DataError, match=r"^input\.path: '.*' holds label 255; CIFAR-10 has 0 to 9"):
        load("cifar10", path=tmp_path)


@pytest.mark.parametrize("name", datasets._MNIST_FILES)
def test_mnist(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(idx()) if name.endswith(".gz") else idx())
    dataset = load("mnist", path=tmp_path)
    assert (dataset.shape, dataset.size) == ((28, 28, 1), 12)
    np.testing.assert_array_equal(everything(dataset), ordered(DIGITS[..., None]))


def test_mnist_missing(tmp_path):
    with pytest.raises(
        DataError, match=r"looked for train-images-idx3-ubyte, train-images-idx3-ubyte\.gz, .*MNIST IDX"
    ):
        load("mnist", path=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", idx()[:-1], r"has 9407 bytes of pixels; its header says 9408 \(12 x 28 x 28\)"),
        ("train-images-idx3-ubyte", idx() + b"0", r"has 9409 bytes of pixels"),
        ("train-images-idx3-ubyte", idx()[:7], r"is truncated or damaged"),
        ("train-images-idx3-ubyte", idx(magic=2049), r"begins with 2049; an IDX file of images begins with 2051"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx())[:-20], r"is truncated or damaged"),
        ("train-images-idx3-ubyte.gz", idx(), r"is truncated or damaged: Not a gzipped file"),
    ],
)
def test_mnist_damaged(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"^input\.path: '.*{name}' {message}"):
        load("mnist", path=tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".zarr"])
@pytest.mark.parametrize("shape", [(9, 5), (9, 4, 2), (9, 4, 3, 2), (9, 2, 3, 2, 1)])
def test_array(tmp_path, suffix, shape):
    array = rng().normal(size=shape)
    dataset = load("array", path=write_array(tmp_path / f"x{suffix}", array))
    assert (dataset.shape, dataset.size) == (shape[1:], shape[0])
    np.testing.assert_array_equal(dataset.take(rng(), 6), from_array(array).take(rng(), 6))


def test_npy_is_memory_mapped(tmp_path):
    array = datasets._array(write_array(tmp_path / "x.npy", IMAGES))
    assert isinstance(array, np.memmap)


@pytest.mark.parametrize("name", ["signal", "data"])
def test_one_named_array_among_several(tmp_path, name):
    np.savez(tmp_path / "x.npz", **{name: IMAGES, "labels": np.arange(20)})
    group = zarr.create_group(tmp_path / "x.zarr")
    group.create_array(name, data=IMAGES)
    group.create_array("labels", data=np.arange(20))
    for file in ("x.npz", "x.zarr"):
        np.testing.assert_array_equal(everything(load("array", path=tmp_path / file)), ordered(IMAGES))


def test_zarr_group_with_one_array(tmp_path):
    zarr.create_group(tmp_path / "x.zarr").create_array("anything", data=IMAGES)
    np.testing.assert_array_equal(everything(load("array", path=tmp_path / "x.zarr")), ordered(IMAGES))


def test_zarr_array_as_such(tmp_path):
    write_array(tmp_path / "x.zarr", IMAGES)
    np.testing.assert_array_equal(ordered(zarr.open_array(tmp_path / "x.zarr", mode="r")), ordered(IMAGES))


def test_ambiguous_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", a=IMAGES, b=IMAGES)
    zarr.create_group(tmp_path / "x.zarr")
    with pytest.raises(DataError, match=r"holds 2 arrays \(a, b\); it must hold one, or one named signal or data$"):
        load("array", path=tmp_path / "x.npz")
    with pytest.raises(DataError, match=r"holds 0 arrays"):
        load("array", path=tmp_path / "x.zarr")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_array(tmp_path / "x.npy", IMAGES)
    assert load("array", path="~/x.npy").size == 20


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"of shape \(3,\) is not \(sample, \*space, channel\)"),
        (np.zeros((1,) * 6), r"of shape \(1, 1, 1, 1, 1, 1\) is not"),
        (np.zeros((5, 0)), r"of shape \(5, 0\) is not .* none empty"),
        (np.zeros((0, 5)), r"of shape \(0, 5\) is not"),
        (np.zeros((2, 3), complex), r"of dtype complex128 is not of integers or real numbers"),
        (np.zeros((2, 3), object), r"of dtype object is not"),
        ([["a", "b"]], r"of dtype <U1 is not"),
    ],
)
def test_unfit_arrays(array, message):
    with pytest.raises(DataError, match=rf"^input\.dataset: data set 'array' {message}"):
        from_array(array)


def test_array_missing_or_of_another_kind(tmp_path):
    with pytest.raises(
        DataError, match=r"^input\.path: '.*none\.npy' does not exist; .*\.npy, \.npz or a Zarr folder$"
    ):
        load("array", path=tmp_path / "none.npy")
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(DataError, match=r"^input\.path: '.*x\.pkl' is not an array .*\.npy, \.npz or a Zarr folder$"):
        load("array", path=tmp_path / "x.pkl")
    with pytest.raises(DataError, match=r"^input\.path: '.*' cannot be read"):
        load("array", path=tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("keep", [0, 50, -9])
def test_array_truncated(tmp_path, suffix, keep):
    file = write_array(tmp_path / f"x{suffix}", IMAGES)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"^input\.path: '.*x\{suffix}' cannot be read; it is truncated, damaged or"):
        load("array", path=file)


def pickled(kind, trap):
    objects, buffer = np.array([[trap]], dtype=object), io.BytesIO()
    if kind == "raw":
        return pickle.dumps(trap)
    np.save(buffer, objects) if kind == "npy" else np.savez(buffer, signal=objects)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "file"), [("raw", "x.npy"), ("raw", "x.npz"), ("npy", "x.npy"), ("npz", "x.npz")])
def test_numpy_pickles_are_refused_unopened(tmp_path, kind, file):
    (tmp_path / file).write_bytes(pickled(kind, Trap(tmp_path / "sprung")))
    with pytest.raises(DataError, match=r"cannot be read; .* holds pickled objects, which are never loaded"):
        load("array", path=tmp_path / file)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("dtype", ["<f4", "|O"])
@pytest.mark.parametrize("codecs", [["pickle"], ["vlen-utf8", "pickle"]])
@pytest.mark.parametrize("where", ["filters", "compressor"])
def test_zarr_pickles_are_refused_unopened(tmp_path, dtype, codecs, where):
    listed = [{"id": codec} for codec in codecs]
    metadata = {"zarr_format": 2, "shape": [2, 2], "chunks": [2, 2], "dtype": dtype, "fill_value": 0, "order": "C"}
    metadata |= {"filters": listed[:-1] or None, "compressor": listed[-1]}
    if where == "filters":
        metadata |= {"filters": listed, "compressor": None}
    (tmp_path / ".zarray").write_text(json.dumps(metadata))
    (tmp_path / "0.0").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(DataError):
        load("array", path=tmp_path).take(rng(), 1)
    with pytest.raises(DataError):
        fingerprint("array", tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_unknown_name():
    names = "gaussian, photos, digits, cifar10, mnist, array"
    with pytest.raises(DataError, match=rf"^input\.dataset: 'cifar' is not one of {names}; did you mean 'cifar10'\?$"):
        load("cifar")
    with pytest.raises(DataError, match=rf"^input\.dataset: '\?\?' is not one of {names}$"):
        load("??")


@pytest.mark.parametrize("name", [name for name, row in DATASETS.items() if row.needs_path])
def test_a_path_is_needed(name):
    with pytest.raises(DataError, match=rf"^input\.path: data set '{name}' needs one: an? "):
        load(name)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("digits", "path", "here"),
        ("photos", "shape", (4,)),
        ("array", "spectrum", 1.0),
        ("gaussian", "path", "here"),
    ],
)
def test_options_out_of_place(name, option, value):
    options = {"shape": (4,)} if name == "gaussian" else {}
    with pytest.raises(DataError, match=rf"^input\.{option}: .* has no meaning for data set '{name}'; leave it out$"):
        load(name, **options | {option: value})


def test_import_needs_numpy_alone():
    code = (
        "import sys, moments_xr.datasets; print(*{'torch', 'scipy', 'skimage', 'sklearn', 'zarr'} & set(sys.modules))"
    )
    root = Path(datasets.__file__).parents[1]
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert not result.stdout.strip()


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(2, 4), min_size=2, max_size=5),
    flatten=st.booleans(),
    scale=st.floats(-20, 20),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32),
)
def test_standardised_channels(shape, flatten, scale, offset, seed):
    x = ((rng(seed).normal(size=shape) + offset) * 10**scale).astype(np.float32)
    x[..., 0] = x.flat[0]
    z = standardise(x, flatten)
    assert z.dtype == np.float32
    assert z.shape == ((shape[0], int(np.prod(shape[1:]))) if flatten else tuple(shape))
    channels = z.astype(np.float64).reshape(-1, z.shape[-1])
    varies = np.ptp(x.reshape(channels.shape), axis=0) > 0
    np.testing.assert_allclose(channels.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(channels.var(0)[varies], 1, rtol=1e-6)
    assert (channels[:, ~varies] == 0).all()


def test_standardise_by_hand():
    x = np.array([[[1.0, 5.0], [3.0, 5.0]], [[1.0, 9.0], [3.0, 9.0]]])
    np.testing.assert_array_equal(standardise(x, False), [[[-1, -1], [1, -1]], [[-1, 1], [1, 1]]])
    np.testing.assert_array_equal(standardise(x, True), [[0, -1, 0, -1], [0, 1, 0, 1]])


def test_constancy_is_exact():
    """The mean of many times 0.1 is not 0.1, yet nothing varies."""
    x = np.full((1001, 2), 0.1)
    x[0, 1] = np.nextafter(0.1, 1)
    z = standardise(x, True)
    assert (z[:, 0] == 0).all()
    assert abs(z[:, 1].astype(float).var() - 1) < 1e-6


@pytest.mark.parametrize(("x", "flatten"), [(np.ones((3, 2, 2)), False), (RNG.normal(size=(1, 4, 4, 3)), True)])
def test_nothing_varies(x, flatten):
    with pytest.raises(DataError, match=r"^input: no channel varies .* nothing to propagate .*input\.batch"):
        standardise(x, flatten)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_values_that_are_not_finite(value, name):
    x = rng().normal(size=(3, 2, 2))
    x[1, 1, 1] = value
    with pytest.raises(DataError, match=rf"^input: 1 of the 12 values drawn are {name}; all must be finite$"):
        standardise(x, False)


@pytest.mark.parametrize("dtype", ["u1", "<i8", "<f4", ">f8"])
def test_fingerprint_is_the_content(tmp_path, dtype):
    array = (rng().normal(size=(10, 4, 3)) * 100).astype(dtype)
    expected = fingerprint_array(array)
    assert len(expected) == 64
    for suffix in (".npy", ".npz", ".zarr"):
        assert fingerprint("array", write_array(tmp_path / f"x{suffix}", array)) == expected
    assert fingerprint_array(np.asfortranarray(array)) == expected
    assert fingerprint_array(zarr.open_array(tmp_path / "x.zarr", mode="r")) == expected


def test_fingerprint_does_not_depend_on_how_it_is_read(monkeypatch):
    whole = fingerprint_array(IMAGES)
    monkeypatch.setattr(datasets, "_HASHED_BYTES", 1)
    assert fingerprint_array(IMAGES) == whole


def test_fingerprints_differ():
    array = np.zeros((4, 6), np.float32)
    changed = array.copy()
    changed[3, 5] = 1
    others = [array.reshape(4, 3, 2), array.reshape(6, 4), array.astype(np.int32), array[:3], changed]
    assert len({fingerprint_array(x) for x in (array, *others)}) == 6


def test_fingerprint_of_pictures(tmp_path):
    one, other = write_cifar10(tmp_path / "one"), write_cifar10(tmp_path / "other" / "cifar-10-batches-bin")
    assert fingerprint("cifar10", one) == fingerprint("cifar10", other.parent) == fingerprint_array(IMAGES)
    assert fingerprint("cifar10", write_cifar10(tmp_path / "third", IMAGES[::-1])) != fingerprint("cifar10", one)
    (one / "train-images-idx3-ubyte").write_bytes(idx())
    (other / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx()))
    assert fingerprint("mnist", one) == fingerprint("mnist", other) == fingerprint_array(DIGITS[..., None])
    assert fingerprint("digits", None) != fingerprint("photos", None)


def test_fingerprint_refuses(tmp_path):
    for name in ("cifar10", "mnist", "array"):
        with pytest.raises(DataError, match=r"^input\.path: "):
            fingerprint(name, tmp_path / "none")
    with pytest.raises(DataError, match=r"^input\.dataset: 'gaussian' is a law, without data to fingerprint$"):
        fingerprint("gaussian", None)
