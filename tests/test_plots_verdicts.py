"""The strip of verdicts and the evidence: what is drawn is what `evidence` and `classify` say."""

from itertools import pairwise

import holoviews as hv
import numpy as np
import pytest

import moments_xr as mx
from moments_xr.plots.verdicts import STATES, WORDS
from moments_xr.quantities import PATHOLOGIES


@pytest.fixture(scope="module")
def exploding():
    from conftest import make_recipe

    recipe = make_recipe("bn_ff", realizations=16, network__depth=24, network__width=48, measure__channels="mean")
    return mx.run(recipe, progress=False)


def drawn(panel, kind=hv.Curve):
    return {element.label: element for element in panel.traverse(lambda x: x, [kind]) if element.label}


def strips(panel):
    """Pathology -> [(first edge, last edge, meaning)] in the order of depth."""
    found = {}
    for element in panel.traverse(lambda x: x, [hv.Rectangles]):
        columns = (element.dimension_values(name) for name in ("x0", "x1", "pathology", "state", "verdict"))
        for start, end, name, state, _ in zip(*columns, strict=True):
            found.setdefault(name, []).append((start, end, state))
    return {name: sorted(runs) for name, runs in found.items()}


def words(panel):
    return [text for labels in panel.traverse(lambda x: x, [hv.Labels]) for text in labels.dimension_values("text")]


def test_strips_are_the_states_of_evidence(exploding):
    found = mx.evidence(exploding)
    (strip, *_) = exploding.moments.plot.verdicts("bokeh")
    runs, layers = strips(strip), exploding.layer.values
    assert set(runs) == set(WORDS.values())
    for name in PATHOLOGIES:
        states = found.state.sel(pathology=name).values
        cells = runs[WORDS[name]]
        assert cells[0][0] == layers[0] - 1 and cells[-1][1] == layers[-1] + 1
        for layer, state in zip(layers, states, strict=True):
            (meaning,) = (meaning for start, end, meaning in cells if start < layer < end)
            assert meaning == STATES[state].meaning
        for (_, end, before), (start, _, after) in pairwise(cells):
            assert end == start and before != after, "one rectangle a run"
    onset = int(found.onset.sel(pathology="exploding_sensitivity"))
    assert f"present, from {onset} on" in words(strip)
    marks = [s for s in strip.traverse(lambda x: x, [hv.Scatter]) if "onset" in [d.name for d in s.dimensions()]]
    expected = found.onset.where(found.verdict == "present", drop=True).values
    assert marks[0].dimension_values("onset").tolist() == expected.tolist()


def test_every_state_has_a_look_and_every_pathology_words():
    from moments_xr.analysis import evidence

    assert set(STATES) == set(evidence.STATES)
    assert set(WORDS) == set(PATHOLOGIES)


def test_the_evidence_is_drawn_with_interval_and_threshold(exploding):
    found = mx.evidence(exploding)
    (_, *panels) = exploding.moments.plot.verdicts("bokeh")
    assert len(panels) == 7
    alone = {name: row for name, row in PATHOLOGIES.items() if name != "exploding_gradient"}
    for panel, (name, row) in zip(panels, alone.items(), strict=True):
        one = found.sel(pathology=name)
        lines = panel.traverse(lambda x: x, [hv.Curve])
        (curve,) = (line for line in lines if "statistic" in line.dimensions(label=True))
        levels = [line.dimension_values("value") for line in lines if "value" in line.dimensions(label=True)]
        expected = [row.threshold, -row.threshold] if name == "vanishing_gradient" else [row.threshold]
        np.testing.assert_array_equal(np.unique(levels), np.unique(expected))
        for drawn_as, key in (("statistic", "statistic"), ("low", "statistic_low"), ("high", "statistic_high")):
            np.testing.assert_allclose(curve.dimension_values(drawn_as), one[key])
        assert curve.dimension_values("state").tolist() == one.state.values.tolist()
        low, high = hv.Store.lookup_options("bokeh", panel, "plot").kwargs["ylim"]
        assert low < min(row.threshold, float(one.statistic_low.min()))
        assert high > max(row.threshold, float(one.statistic_high.max()))


def test_what_was_not_measured_has_a_strip_and_no_panel(exploding):
    lacking = exploding.drop_vars("reff_signal")
    (strip, *panels) = lacking.moments.plot.verdicts("bokeh")
    assert len(panels) == 6
    assert [state for *_, state in strips(strip)[WORDS["one_dimensional_signal"]]] == [STATES["not measured"].meaning]
    assert "not measured" in words(strip)
    nothing = exploding[["done"]].assign_attrs(exploding.attrs)
    with pytest.raises(LookupError, match="verdicts: nothing to draw"):
        nothing.moments.plot.verdicts()


def test_odd_selections(exploding, small):
    hv.render(exploding.isel(realization=0, layer=11).moments.plot.verdicts("bokeh"), "bokeh")
    assert len(exploding.sel(site="act").moments.plot.verdicts("bokeh")) == 6
    assert len(exploding.isel(layer=[0, 11]).moments.plot.verdicts("matplotlib")) == 8
    (strip, *_) = exploding.isel(realization=0).moments.plot.verdicts("bokeh")
    assert words(strip).count("undecided") == len(PATHOLOGIES)
    assert {state for runs in strips(strip).values() for *_, state in runs} == {STATES["few"].meaning}
    tree = mx.run(small(realizations=2, sweep={"network.width": [4, 6]}), progress=False)
    with pytest.raises(ValueError, match=r'verdicts is of one cube.*tree\["network.width=4"\]'):
        tree.moments.plot.verdicts()
