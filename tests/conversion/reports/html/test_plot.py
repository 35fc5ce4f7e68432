"""The plot of a page: each difference at its height, lines and bars for both dtypes."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest

from conversion.reports.html.parts import STYLE
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


@pytest.mark.parametrize("layers", [1, 6, 8, 12, 48])
@pytest.mark.parametrize("bars", [Bars(), Bars(float64=1e-12, float32_states=2e-12)])
def test_no_text_is_overprinted(layers: int, bars: Bars) -> None:
    """Neither by another text nor by marks and lines; a letter is at most 8 pixels wide."""
    root = ElementTree.fromstring(error_plot(rows(layers), bars))
    boxes = []
    for node in root.iter("text"):
        x, y, width = float(node.get("x", "")), float(node.get("y", "")), 8.0 * len(node.text or "")
        left = {"start": x, "middle": x - width / 2, "end": x - width}[node.get("text-anchor", "")]
        boxes.append((left, y - 11, left + width, y + 3, node.text))
    assert all(box[2] <= 640 for box in boxes)
    for one, other in itertools.combinations(boxes, 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one[4], other[4])
    frame = next(node for node in root.iter("line") if node.get("class") == "axis")
    for left, top, right, bottom, words in boxes:
        outside = left > float(frame.get("x2", "")) or right < float(frame.get("x1", ""))
        assert outside or bottom < 44 or top > 346, words


def test_is_readable_on_500_pixels() -> None:
    root = plot(*rows())
    width = float(root.get("viewBox", "").split()[2])
    (size,) = re.findall(r"svg text \{[^}]*font-size: (\d+)px", STYLE)
    margins = 2 * 20
    assert int(size) * (500 - margins) / width >= 10
