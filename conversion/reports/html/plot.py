"""The plot of a page: how far two models are apart, layer by layer, as inline SVG."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from conversion.reports.html.parts import escaped
from conversion.reports.outputs import OF_LAYER, Bars, Row, describe

# Narrow, with large letters: on a page of 500 pixels they are still read. To the right of the frame
# stand the names of the bars, where nothing else is drawn.
_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 562, 44, 346
_LETTERS = 14  # as in the style sheet
_BAND = 36  # above the scale, for values that are not finite; below it, for exact zeros
# So many hidden states have room for "layer 3"; half the width of "embeddings".
_NAMED, _EMBEDDINGS = 7, 50
# Parts of a model that have a picture each: what their names begin with, and their titles.
_PARTS = {"": "", "encoder_": "Encoder", "decoder_": "Decoder"}
_STYLES = {"float64": "one", "float32": "two"}


@dataclass(frozen=True)
class _Scale:
    """Maps differences and layers to coordinates of the picture.

    Attributes:
        low, high: Powers of ten at the lower and at the upper end.
        states: Number of hidden states.
        above, below: Heights of the bands for values that are not finite and for exact zeros.
    """

    low: int
    high: int
    states: int
    above: int
    below: int

    def y(self, relative: float) -> float:
        """Vertical position of a difference, a share of the largest value."""
        if relative == 0:
            return _BOTTOM - self.below / 3
        if not math.isfinite(relative):
            return _TOP + self.above / 3
        share = (math.log10(relative) - self.low) / (self.high - self.low)
        return _BOTTOM - self.below - share * (_BOTTOM - _TOP - self.above - self.below)

    def x(self, state: float) -> float:
        """Horizontal position of a hidden state; the attention of a layer lies between two."""
        inset = 28
        width = _RIGHT - _LEFT - 2 * inset
        return _LEFT + inset + width * (state / (self.states - 1) if self.states > 1 else 0.5)


def error_plot(rows: Sequence[Row], bars: Bars) -> str:
    """Plot the relative differences of hidden states and attentions by layer, logarithmically.

    Args:
        rows: The comparisons, of both dtypes.
        bars: The bars, which are drawn as dashed lines.

    Returns:
        An svg element, of an encoder-decoder one for each part; empty where there are no hidden
        states.
    """
    matches = [(row, match) for row in rows if (match := OF_LAYER.fullmatch(row.name))]
    plots = []
    for part, title in _PARTS.items():
        names = (part, "cross_") if part == "decoder_" else (part,)
        found = [(row, match) for row, match in matches if match["part"] in names]
        if plot := _part_plot(found, bars):
            plots += [f"<h3>{title}</h3>"] if title else []
            plots.append(plot)
    return "\n".join(plots)


def _part_plot(found: list[tuple[Row, re.Match[str]]], bars: Bars) -> str:
    """The picture of one part, of its rows and their names."""
    states = max((int(m["index"]) for _, m in found if m["kind"] == "hidden_states"), default=-1)
    states += 1
    if not states:
        return ""
    heights = {"float64": bars.float64, "float32": bars.float32_states}
    values = [row.relative for row, _ in found if 0 < row.relative < math.inf]
    values += [value for value in heights.values() if value > 0]
    low = math.floor(math.log10(min(values)) - 0.2)
    high = math.ceil(math.log10(max(values)) + 0.2)
    unfit = any(not math.isfinite(row.relative) for row, _ in found)
    exact = any(row.relative == 0 for row, _ in found)
    scale = _Scale(low, high, states, _BAND if unfit else 0, _BAND if exact else 0)
    parts = [*_frame(scale)]
    shown = {dtype: height for dtype, height in heights.items() if height > 0}
    lines = {dtype: scale.y(height) for dtype, height in shown.items()}
    for dtype, beside in zip(lines, _apart([*lines.values()]), strict=True):
        parts += _bar(dtype, lines[dtype], beside, f"bar {shown[dtype]:g}")
    for dtype in heights:
        parts += _series(scale, dtype, [pair for pair in found if pair[0].dtype == dtype])
    label = "Largest difference by layer, as a share of the largest value, logarithmic"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        + "\n".join(parts)
        + "</svg>"
    )


def _frame(scale: _Scale) -> list[str]:
    parts = []
    step = max(1, math.ceil((scale.high - scale.low) / 10))
    for power in range(scale.low, scale.high + 1, step):
        parts.append(_grid_line(scale.y(10.0**power), f"1e{power}"))
    if scale.below:
        parts.append(_grid_line(scale.y(0), "exactly 0"))
    if scale.above:
        parts.append(_grid_line(scale.y(math.inf), "not told"))
    every = max(1, math.ceil(scale.states / 17))
    for state in range(scale.states):
        if state % every == 0 or state == scale.states - 1:
            name = "embeddings" if state == 0 else f"layer {state - 1}"
            short = name if scale.states <= _NAMED or state == 0 else str(state - 1)
            if state == 0 or scale.x(state) - scale.x(0) > _EMBEDDINGS:
                parts.append(_text(scale.x(state), _BOTTOM + 20, short))
    if scale.states > _NAMED:
        parts.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 42, "hidden state after layer"))
    legend = ((_LEFT, "one", "float64"), (_LEFT + 100, "two", "float32"))
    for x, style, words in legend:
        parts.append(_circle(x + 6, 11, style, full=True))
        parts.append(_text(x + 18, 16, words, anchor="start", style=style))
    parts.append(_text(_LEFT + 200, 16, "dashed: what must be reached", anchor="start"))
    parts.append(_text(_LEFT, 34, "dots: hidden states", anchor="start"))
    parts.append(_text(_LEFT + 200, 34, "rings: attentions", anchor="start"))
    return parts


def _bar(dtype: str, y: float, label: float, words: str) -> list[str]:
    style = _STYLES[dtype]
    line = f'<line class="bar {style}" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />'
    return [line, _text(_RIGHT + 6, label + 5, words, anchor="start", style=style)]


def _apart(heights: list[float]) -> list[float]:
    """The heights of labels beside lines: those of the lines, moved apart where they would meet."""
    placed: dict[int, float] = {}
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        lowest = max(placed.values(), default=-math.inf) + _LETTERS + 2
        placed[index] = max(heights[index], lowest)
    return [placed[index] for index in range(len(heights))]


def _series(scale: _Scale, dtype: str, found: list[tuple[Row, re.Match[str]]]) -> list[str]:
    style = _STYLES[dtype]
    curve, marks = [], []
    for row, match in found:
        is_state = match["kind"] == "hidden_states"
        between = 0.75 if match["part"] == "cross_" else 0.5
        x = scale.x(int(match["index"]) + (0.0 if is_state else between))
        y = scale.y(row.relative)
        if is_state:
            curve.append(f"{x:.1f},{y:.1f}")
        words = f"{row.name}, {describe(row.name)}, {dtype}: "
        words += row.problem or f"{row.relative:.1e} of the largest value"
        marks.append(_circle(x, y, style, full=is_state, title=words))
        if row.problem is not None:
            marks.append(f'<circle class="off" cx="{x:.1f}" cy="{y:.1f}" r="8" />')
    return [f'<polyline class="curve {style}" points="{" ".join(curve)}" />', *marks]


def _grid_line(y: float, label: str) -> str:
    line = f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />'
    return line + _text(_LEFT - 8, y + 4, label, anchor="end")


def _circle(x: float, y: float, style: str, *, full: bool, title: str = "") -> str:
    kind = f"dot {'full ' if full else ''}{style}"
    inner = f"<title>{escaped(title)}</title>" if title else ""
    radius = 4 if full else 3.5
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{inner}</circle>'


def _text(x: float, y: float, text: str, *, anchor: str = "middle", style: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">'
        f"{escaped(text)}</text>"
    )
