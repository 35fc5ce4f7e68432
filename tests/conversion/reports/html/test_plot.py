"""The plot of a page: each difference at its height, lines and bars for both dtypes."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest

from conversion.reports.html.plot import error_plot
from conversion.reports.outputs import Bars, Row
from tests.conversion.reports.html.test_page import row, rows


def plot(*given: Row) -> ElementTree.Element:
    return ElementTree.fromstring(error_plot(given, Bars()))


def heights(root: ElementTree.Element) -> dict[str, float]:
    return {
        node[0].text or "": float(node.get("cy", "")) for node in root.iter("circle") if len(node)
    }


def test_has_a_line_and_a_bar_for_each_dtype() -> None:
    root = plot(*rows())
    assert [node.get("class") for node in root.iter("polyline")] == ["curve one", "curve two"]
    for line in root.iter("polyline"):
        assert len(line.get("points", "").split()) == 4
    bars = [node for node in root.iter("line") if "bar" in node.get("class", "")]
    assert [node.get("class") for node in bars] == ["bar one", "bar two"]
    words = [node.text for node in root.iter("text")]
    assert {"bar 1e-12", "bar 1e-05", "embeddings", "layer 2"} <= {*words}
    assert "exactly 0" not in words


def test_is_logarithmic_and_upright() -> None:
    given = [row(f"hidden_states[{i}]", 10.0 ** (i - 16)) for i in range(4)]
    found = [*heights(plot(*given)).values()]
    steps = [a - b for a, b in itertools.pairwise(found)]
    assert min(steps) > 0
    assert max(steps) == pytest.approx(min(steps), abs=0.2)


def test_a_difference_at_the_bar_is_on_its_line() -> None:
    root = plot(row("hidden_states[0]", 1e-12), row("hidden_states[1]", 1e-14))
    (bar, *_) = [node for node in root.iter("line") if "bar" in node.get("class", "")]
    assert next(iter(heights(root).values())) == float(bar.get("y1", ""))


def test_zero_nan_and_infinity_have_places() -> None:
    unfit = "2 of 3 values are NaN"
    root = plot(
        row("hidden_states[0]", 0.0),
        row("hidden_states[1]", 1e-15),
        row("hidden_states[2]", float("nan"), problem=unfit),
        row("attentions[0]", float("inf"), problem="x"),
    )
    zero, small, nan, infinite = heights(root).values()
    assert zero > small > nan == infinite
    assert len([node for node in root.iter("circle") if node.get("class") == "off"]) == 2
    assert any(unfit in label for label in heights(root))


def test_its_scale_fills_the_frame() -> None:
    ticks = [node for node in plot(*rows()).iter("line") if node.get("class") == "axis"]
    heights = [float(node.get("y1", "")) for node in ticks]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (346.0, 44.0)


def test_without_hidden_states_there_is_none() -> None:
    assert error_plot([row("logits", 1e-15)], Bars()) == ""


@pytest.mark.parametrize("layers", [1, 12, 48])
def test_stays_within_its_frame(layers: int) -> None:
    root = plot(*rows(layers))
    for node in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(node.get(name, "0")) <= 900
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(node.get(name, "0")) <= 400
