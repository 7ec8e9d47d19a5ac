"""How χ grows with depth (THEORY 5.4 and 6)."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from moments_xr.analysis.sensitivity import at_site, chi
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError


@along_sweep
def predicted_power_law(ds: xr.Dataset) -> xr.Dataset:
    """The papers' prediction χ^l ≈ κ l^τ for residual nets, from the increments inside the units.

    τ = ½(δχ_avg^{2H} − 1), where δχ_avg is the mean over measured units of ⟨χ(y^{l,1})⟩/⟨χ(y^{l,0})⟩ and ⟨⟩ is the mean
    over realizations; κ = ⟨χ l^τ⟩/⟨l^{2τ}⟩ is the least-squares constant, over units (THEORY 5.4 and 6).

    Returns
    -------
    Scalars `tau` and `kappa`.

    Raises
    ------
    MissingError
        The cube lacks a site (`input`, `conv` or `sum`), as that of a net without residual units does.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.growth import predicted_power_law
    >>> net = {"network.architecture": "bn_res", "realizations": 2, "network.depth": 6}
    >>> ds = mx.run(mx.recipe("quickstart", net), progress=False)
    >>> 0.3 < float(predicted_power_law(ds).tau) < 1.5
    True
    """
    values = chi(ds)
    present = {str(site) for site in np.atleast_1d(values["site"].values)} if "site" in values.coords else set()
    if not {"input", "conv", "sum"} <= present:
        raise MissingError("the predicted power law needs the sites input, conv and sum of a residual net")
    mean = values.mean("realization") if "realization" in values.dims else values
    unit_depth = json.loads(ds.attrs["recipe"])["network"].get("unit_depth", 2) if "recipe" in ds.attrs else 2
    average = (mean.sel(site="conv", drop=True) / mean.sel(site="input", drop=True)).mean("layer")
    tau = 0.5 * (average ** (2 * ds.attrs.get("unit_depth", unit_depth)) - 1)
    power = ds["layer"] ** tau
    kappa = (at_site(ds, mean, "sum") * power).mean("layer") / (power**2).mean("layer")
    tau.attrs = {"long_name": "predicted exponent of the power law of χ", "units": "1", "symbol": "τ"}
    kappa.attrs = {"long_name": "least-squares constant of the power law of χ", "units": "1", "symbol": "κ"}
    return xr.Dataset({"tau": tau, "kappa": kappa.drop_vars("site", errors="ignore")})
