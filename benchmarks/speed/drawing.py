"""A few marks of SVG, as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]
FONT = 'font-family="sans-serif"'


class Drawing:
    """Collects marks; `text()` is the file."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)
        self.marks: list[str] = []

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        """A filled rectangle."""
        self.marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" '
            f'fill="{fill}"/>'
        )

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"/>'
        )

    def dot(self, point: Point, colour: str) -> None:
        """A small circle."""
        self.marks.append(
            f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="3" fill="{colour}"/>'
        )

    def write(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 11,
        anchor: str = "start",
        weight: str = "normal",
    ) -> None:
        """Words with their base line at y."""
        self.marks.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" {FONT} text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="#222">{escape(words)}</text>'
        )

    def text(self) -> str:
        """The whole file."""
        width, height = self.size
        size = f'width="{width:g}" height="{height:g}"'
        view = f'viewBox="0 0 {width:g} {height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {view} {size}>'
        return "\n".join([head, f'<rect {size} fill="white"/>', *self.marks, "</svg>\n"])
