"""Results of the 2019 code (github alabatie/moments-dnns): its .npz files, read as cubes.

Arrays are (realization, depth), keys `<moment>_loc<k>`: loc1 is the first site of the architecture, and so on. Values are
`longdouble`, beyond float64's range in deep nets, so logs and powers of two are taken out before they become float64.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendEntrypoint

from moments_xr.cube import COORDINATES, SCHEMA_VERSION, VARIABLES, Variable
from moments_xr.errors import RequestError
from moments_xr.quantities import ARCHITECTURES, MOMENTS, Architecture

KINDS = {name: ARCHITECTURES[name] for name in ("vanilla", "bn_ff", "bn_res")}
"""Architectures of the 2019 code."""

NOT_COMPUTED = -1
RANKS = ("reff_signal", "reff_noise")
UNPRUNED = ("nu1_abs_signal", "nu2_signal", "mu2_signal", "mu4_signal", "mu2_noise")
"""What the 2019 code computes at every location."""

LOG_CHI = Variable(("realization", "layer", "site"), "f8", "log of the normalised sensitivity", "log χ")
NOTE = (
    "Results of the 2019 code (github alabatie/moments-dnns); what it did not compute (-1 there) is NaN, "
    "and log_chi is relative to the variances 1 of the standardised input and of the input noise."
)

_PREFIX = "moments_"
_MOMENT = re.compile(rf"(?P<name>{'|'.join((*MOMENTS, *RANKS, 'chi'))})_loc(?P<location>[1-5])")
_OTHER = re.compile(r"depth|res_depth|config|sim\d+_\w+")
_LARGE = 512
"""Moments beyond 2^±512 are rescaled: float64 ends at 2^±1022, and this leaves room for what is computed from them."""
_X86_MANTISSA = 63
_FOREIGN = "it holds long doubles of x86 Linux, which this platform lacks; convert it to float64 there"

Values = dict[tuple[str, int], NDArray[np.longdouble]]
"""Arrays (realization, depth) by moment and location."""


class NpzError(RequestError):
    """A file is not what was asked for: missing, foreign, damaged, or of another architecture."""


def open_npz(file: str | os.PathLike[str], architecture: str | None = None) -> xr.Dataset:
    """Read results of the 2019 code, pruned or not, as a cube in memory; nothing in the file is ever unpickled.

    Parameters
    ----------
    file
        The .npz file.
    architecture
        `vanilla`, `bn_ff` or `bn_res`, which the file does not say; may be left out where its keys leave one possible.

    Returns
    -------
    The cube with what the file has: `pooled_moments`, `reff_signal`, `reff_noise`, `log_chi`, at the sites that occur.

    Raises
    ------
    NpzError
        The file is missing, damaged or something else, or does not fit the architecture, or fits several.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "vanilla.npz")
    ...     np.savez(file, depth=[50, 100], chi_loc3=np.array([[1.5, -1]]))
    ...     ds = mx.open_npz(file, architecture="vanilla")
    >>> ds.moments.chi().sel(site="act").values.tolist()
    [[1.5, nan]]
    """
    path = Path(file).expanduser()
    if architecture is not None and architecture not in KINDS:
        raise NpzError(f"architecture: '{architecture}' is not one of {', '.join(KINDS)}")
    try:
        return _read(path, architecture)
    except NpzError as error:
        raise NpzError(f"'{path}': {error}") from error.__cause__


class MomentsDnnsBackend(BackendEntrypoint):
    """`xr.open_dataset(file, engine="moments_dnns", architecture=...)`: the same as `open_npz`."""

    description: ClassVar[str] = "Open results of the 2019 code moments-dnns (.npz) as a cube of moments"
    url: ClassVar[str] = "https://github.com/alabatie/moments-dnns"
    open_dataset_parameters: ClassVar[tuple[str, ...] | None] = ("filename_or_obj", "drop_variables", "architecture")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        architecture: str | None = None,
    ) -> xr.Dataset:
        """The cube without the variables to drop; see `open_npz`."""
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        return open_npz(filename_or_obj, architecture).drop_vars(dropped, errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether it is the path of a file with the keys of the 2019 code; reads only the list of keys."""
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            return False
        try:
            with zipfile.ZipFile(filename_or_obj) as archive:
                return bool(_located([name.removesuffix(".npy") for name in archive.namelist()]))
        except (OSError, ValueError, zipfile.BadZipFile):
            return False


def _read(path: Path, architecture: str | None) -> xr.Dataset:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise NpzError("no such file") from None
    except OSError as error:
        raise NpzError(f"cannot be opened: {error.strerror}") from error
    with stream:
        try:
            npz = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise NpzError("not an .npz file, or a damaged one") from error
        if not isinstance(npz, np.lib.npyio.NpzFile):
            raise NpzError("a single array, not an .npz file")
        located = _located(npz.files)
        layers = _layers(_array(npz, _key(npz, "depth")))
        values = {place: _array(npz, key) for place, key in located.items()}
        unit_depth = _array(npz, _key(npz, "res_depth")) if _key(npz, "res_depth") in npz.files else None
    first = next(iter(values.values()))
    expected = (len(first) if first.ndim else 0, len(layers))
    for place, array in values.items():
        if array.shape != expected or not array.size:
            raise NpzError(f"{located[place]} has shape {array.shape}, not (realization, depth) = {expected}")
    kind = _architecture(values, architecture)
    ds = _cube({place: np.where(array == NOT_COMPUTED, np.nan, array) for place, array in values.items()}, layers, kind)
    ds.attrs = {"architecture": kind.name, "schema_version": SCHEMA_VERSION, "source": path.name, "note": NOTE}
    ds.attrs["activation"] = "relu"  # the only one of the 2019 code
    if kind.name == "bn_res" and unit_depth is not None:
        if unit_depth.ndim or not 1 <= unit_depth < np.inf or unit_depth != np.rint(unit_depth):
            raise NpzError("res_depth is not one whole number of at least 1")
        ds.attrs["unit_depth"] = int(unit_depth)
    return ds


def _located(files: Iterable[str]) -> dict[tuple[str, int], str]:
    """Key in the file by moment and location."""
    located: dict[tuple[str, int], str] = {}
    unknown = []
    names = {key: key.removeprefix(_PREFIX) for key in files}
    if "depth" not in names.values():
        raise NpzError("it has no 'depth', so these are not results of the 2019 code")
    for key, name in names.items():
        if match := _MOMENT.fullmatch(name):
            place = (match["name"], int(match["location"]))
            if place in located:
                raise NpzError(f"it has both {located[place]} and {key}")
            located[place] = key
        elif not _OTHER.fullmatch(name):
            unknown.append(key)
    if unknown:
        raise NpzError(
            f"unknown keys {', '.join(unknown)}; moments are {', '.join((*MOMENTS, *RANKS, 'chi'))}, with _loc1 to _loc5"
        )
    if not located:
        raise NpzError("it has no moments")
    return located


def _key(npz: Mapping[str, Any], name: str) -> str:
    return name if name in npz else _PREFIX + name


def _array(npz: Mapping[str, Any], key: str) -> NDArray[np.longdouble]:
    try:
        array = np.asarray(npz[key])
    except (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise NpzError(f"{key} cannot be read: {_FOREIGN if re.search('f1[26]', reason) else reason}") from error
    if array.dtype.kind not in "fiu":
        raise NpzError(f"{key} is of dtype {array.dtype}, not of real numbers")
    if array.dtype.itemsize > 8 and np.finfo(array.dtype).nmant != _X86_MANTISSA:
        raise NpzError(f"{key} cannot be read: {_FOREIGN}")
    return array.astype(np.longdouble)


def _layers(depth: NDArray[np.longdouble]) -> NDArray[np.int64]:
    whole = depth.ndim == 1 and depth.size > 0 and np.isfinite(depth).all() and (depth == np.rint(depth)).all()
    if not whole or (np.diff(depth, prepend=0) <= 0).any():
        raise NpzError("depth is not an increasing list of layers, counted from 1")
    return depth.astype(np.int64)


def _architecture(values: Values, wanted: str | None) -> Architecture:
    """The architecture that is wanted, or the only possible one. The 2019 code computes ranks after the activation only."""
    last = max(location for _, location in values)
    ranked = {location for (name, location), array in values.items() if name in RANKS and (array != NOT_COMPUTED).any()}
    possible = {
        kind.name: kind
        for kind in KINDS.values()
        if len(kind.sites) >= last and (not ranked or kind.sites.index("act") + 1 in ranked)
    }
    places = ", ".join(f"loc{location}" for location in sorted({location for _, location in values}))
    what = f"with locations {places}" + (
        f", and ranks at {', '.join(f'loc{k}' for k in sorted(ranked))}," if ranked else ""
    )
    if wanted is not None:
        if wanted not in possible:
            raise NpzError(f"{what} it cannot be '{wanted}'; possible: {', '.join(possible) or 'none'}")
        return possible[wanted]
    if all((name, location) in values for name in UNPRUNED for location in range(1, last + 1)):
        possible = {name: kind for name, kind in possible.items() if len(kind.sites) == last}
    if len(possible) != 1:
        raise NpzError(
            f"{what} its architecture is not certain: pass architecture=, one of {', '.join(possible or KINDS)}"
        )
    return next(iter(possible.values()))


def _cube(values: Values, layers: NDArray[np.int64], kind: Architecture) -> xr.Dataset:
    locations = sorted({location for _, location in values})
    names = [name for name in MOMENTS if any(name == other for other, _ in values)]
    realizations = len(next(iter(values.values())))

    def by_site(name: str) -> NDArray[Any]:
        empty = np.full((realizations, len(layers)), np.nan, np.longdouble)
        return np.stack([values.get((name, location), empty) for location in locations], axis=-1)

    data: dict[str, Any] = {}
    if names:
        moments = {name: by_site(name) for name in names}
        for tensor in ("signal", "noise"):
            chosen = [name for name in names if MOMENTS[name].tensor == tensor]
            if chosen:
                exponent = _exponent(moments, chosen)
                data[f"log_{tensor}_scale"] = exponent * np.log(2.0)
                for name in chosen:
                    moments[name] = np.ldexp(moments[name], -MOMENTS[name].order * exponent[..., None])
        data["pooled_moments"] = np.stack([moments[name] for name in names], axis=-1)
    for name in RANKS:
        if any(name == other for other, _ in values):
            data[name] = by_site(name)
    if any(name == "chi" for name, _ in values):
        chi = by_site("chi")
        with np.errstate(divide="ignore", invalid="ignore"):
            data["log_chi"] = np.log(np.where(np.isposinf(chi), np.nan, chi))
    data["input_mu2_signal"] = np.ones(realizations)
    data["done"] = np.ones(realizations, dtype=bool)

    known = {
        "realization": np.arange(realizations),
        "layer": layers,
        "site": np.array([kind.sites[location - 1] for location in locations], dtype=object),
        "pooled_moment": np.array(names, dtype=object),
    }
    rows = VARIABLES | {"log_chi": LOG_CHI}
    return xr.Dataset(
        {
            name: (rows[name].dims, data[name].astype(rows[name].dtype), rows[name].attrs)
            for name in rows
            if name in data
        },
        {dim: (dim, known[dim], {"long_name": COORDINATES[dim], "units": "1"}) for dim in known if len(known[dim])},
    )


def _exponent(moments: Mapping[str, NDArray[Any]], names: list[str]) -> NDArray[np.intc]:
    """Power of two, by realization and layer, to take out of a tensor: 0 unless one of its moments is very large or small."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = {name: np.log2(np.abs(moments[name])) for name in names}
    logs = {name: np.where(np.isfinite(log), log, np.nan) for name, log in logs.items()}
    extreme = np.any([(np.abs(log) > _LARGE).any(-1) for log in logs.values()], axis=0)
    roots = np.concatenate([log / MOMENTS[name].order for name, log in logs.items()], axis=-1)
    middle = (np.fmax.reduce(roots, axis=-1) + np.fmin.reduce(roots, axis=-1)) / 2
    exponent: NDArray[np.intc] = np.where(extreme, np.rint(middle), 0).astype(np.intc)
    return exponent
