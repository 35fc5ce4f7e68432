"""A plot of numbers by updates, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from conversion.reports.html.parts import escaped

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 620, 34, 204
_STYLES = ("one", "two")
# More points than these are not seen: each of a curve stands for several then, their mean.
_MOST_POINTS = 600


@dataclass(frozen=True)
class Curve:
    """A curve of a plot.

    Attributes:
        name: Stands above it.
        points: Updates and numbers; what is not finite is left out.
    """

    name: str
    points: Sequence[tuple[float, float]]


def curves_plot(title: str, curves: Sequence[Curve], *, level: float | None = None) -> str:
    """Plot up to two curves.

    Args:
        title: Of the plot.
        curves: What is drawn.
        level: A number to compare with, drawn as a dashed line.

    Returns:
        An svg element; empty if no curve has a finite number.
    """
    drawn = [
        (curve.name, _thinned([point for point in curve.points if math.isfinite(point[1])]))
        for curve in curves
    ]
    drawn = [(name, points) for name, points in drawn if points]
    if not drawn:
        return ""
    values = [y for _, points in drawn for _, y in points]
    if level is not None:
        values.append(level)
    xs = [x for _, points in drawn for x, _ in points]
    ticks = _ticks(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))
    first, last = min(xs), max(xs)

    def x_of(x: float) -> float:
        share = (x - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_RIGHT - _LEFT)

    def y_of(y: float) -> float:
        return _BOTTOM - (y - low) / (high - low) * (_BOTTOM - _TOP)

    parts = [_text(_LEFT, 18, title, anchor="start", style="ink")]
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<line class="axis" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:.6g}", anchor="end"))
    for x, anchor in ((first, "start"), (last, "end")):
        if x != first or x == first == last or anchor == "start":
            parts.append(_text(x_of(x), _BOTTOM + 22, f"{x:,.0f}", anchor=anchor))
    if level is not None:
        y = y_of(level)
        parts.append(
            f'<line class="bar two" x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f"<title>{level:.6g}</title></line>"
        )
    for place, ((name, points), style) in enumerate(zip(drawn, _STYLES, strict=False)):
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="curve {style}" points="{line}" />')
        if len(points) <= 40:
            parts += [
                f'<circle class="dot full {style}" cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3">'
                f"<title>{x:,.0f}: {y:.6g}</title></circle>"
                for x, y in points
            ]
        if len(drawn) > 1:
            parts.append(_text(_RIGHT - 80 * place, 18, name, anchor="end", style=style))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escaped(title)}">'
        + "\n".join(parts)
        + "</svg>"
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    every = math.ceil(len(points) / _MOST_POINTS) or 1
    groups = [points[at : at + every] for at in range(0, len(points), every)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, in steps of 1, 2 or 5 times a power of ten."""
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(each for each in (1, 2, 5, 10) if (high - low) / (step * each) <= 6)
    begin = math.floor(low / step)
    return [(begin + at) * step for at in range(math.ceil(high / step) - begin + 1)]


def _text(x: float, y: float, text: str, *, anchor: str, style: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{style}">'
        f"{escaped(text)}</text>"
    )
