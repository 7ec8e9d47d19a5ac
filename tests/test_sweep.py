"""Results of a sweep's nodes beside each other."""

import numpy as np
import xarray as xr

from moments_xr.analysis.sweep import combine

POINTS = {"a": {"network.width": 8}, "b": {"network.width": 16}, "c": {"network.width": 32}}


def result(value, comment, **attrs):
    known = {"comment": comment} if comment else {}
    return xr.Dataset({"x": ("layer", [value, value], {"long_name": "x"} | known)}, {"layer": [1, 2]}, known | attrs)


def test_attributes_stand_for_a_sweep_only_if_all_nodes_agree():
    both = combine({"a": result(1.0, "odd"), "b": result(2.0, "")}, POINTS)
    assert both.attrs == {} and both.x.attrs == {"long_name": "x"}
    assert combine({"a": result(1.0, "odd"), "b": result(2.0, "even")}, POINTS).attrs == {}
    alike = combine({"a": result(1.0, "odd", weights=[1, 2]), "b": result(2.0, "odd", weights=[1, 2])}, POINTS)
    assert alike.attrs == {"comment": "odd", "weights": [1, 2]} and alike.x.attrs["comment"] == "odd"


def test_a_node_without_a_result_has_no_say():
    combined = combine({"a": result(1.0, "odd"), "b": xr.Dataset(), "c": result(3.0, "odd")}, POINTS)
    assert combined.attrs == {"comment": "odd"}
    np.testing.assert_array_equal(combined.x.sel(layer=1), [1.0, np.nan, 3.0])


def test_dimensions_stand_in_the_nodes_order_where_one_node_has_fewer():
    whole = xr.Dataset({"a": (("realization", "layer"), np.ones((2, 3)))})
    results = {"x": whole.isel(realization=0), "y": whole}
    points = {name: {"network.width": k} for k, name in enumerate(results)}
    for order in (results, dict(reversed(results.items()))):
        combined = combine(order, {name: points[name] for name in order})
        assert combined.a.dims == ("network.width", "realization", "layer")
