"""The plot: time of each row for us and our peers, and how cost grows; from the JSON alone."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.speed.drawing import Drawing, Point

WIDTH = 860
LEFT, RIGHT = 210, 90
BAR, GAP = 15, 14
PANEL = 200
OURS, PEER, LIMIT = "#1b6ca8", "#b8bcc2", "#c0392b"
COLOURS = ("#1b6ca8", "#8a8f98", "#d98d1f", "#3b8f4d")
TIMED = ("encode", "loss", "train")


def plot(found: dict[str, Any]) -> str:
    """SVG of what `as_json` gives."""
    rows = [row for row in found["rows"] if row["task"]["kind"] in TIMED and timed(row)]
    series = list(dict.fromkeys(point["of"] for point in found["growth"]))
    bars = sum(22 + GAP + BAR * len(timed(row)) for row in rows)
    height = 70 + bars + (PANEL + 60 if series else 0)
    drawing = Drawing(WIDTH, height)
    about = found["machine"]
    drawing.write(
        12, 20, "Milliseconds, median: this project and its peers", size=14, weight="bold"
    )
    drawing.write(12, 38, f"{about['processor']}, {about['cores']} cores", size=10)
    y = 56.0
    for row in rows:
        y = bars_of(drawing, row, y)
    across = (WIDTH - 20) / max(len(series), 1)
    for number, name in enumerate(series):
        points = [point for point in found["growth"] if point["of"] == name]
        panel(drawing, name, points, 10 + number * across, y + 24, across)
    return drawing.text()


def timed(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The lanes of a row that have a time."""
    return [lane for lane in row["lanes"] if lane["seconds"]]


def bars_of(drawing: Drawing, row: dict[str, Any], y: float) -> float:
    """A bar for each lane, each row to a scale of its own; a line where the limit is."""
    lanes = timed(row)
    longest = max(lane["median"] for lane in lanes)
    scale = (WIDTH - LEFT - RIGHT) / longest
    drawing.write(12, y + 14, row["title"], size=12, weight="bold")
    top = y + 22
    for number, lane in enumerate(lanes):
        place = top + number * BAR
        drawing.write(LEFT - 8, place + BAR - 4, lane["name"], anchor="end")
        length = lane["median"] * scale
        drawing.rectangle(LEFT, place + 1, length, BAR - 3, OURS if lane["ours"] else PEER)
        drawing.write(LEFT + length + 5, place + BAR - 4, f"{lane['median'] * 1e3:,.0f}")
    bottom = top + BAR * len(lanes)
    if "best" in row["limits"]:
        x = LEFT + row["limits"]["best"]["seconds"] * scale
        drawing.line([(x, top), (x, bottom)], LIMIT, 1.5)
        if row["name"] == "encode":
            drawing.write(x, top - 4, "best matrix product", size=9, anchor="middle")
    return bottom + GAP


def panel(
    drawing: Drawing, name: str, points: list[dict[str, Any]], x: float, y: float, across: float
) -> None:
    """Time against size, both in powers: a straight line of slope 1 grows as the size does."""
    values = [s for point in points for s in point["seconds"].values()]
    if not values:
        return
    low, high = math.log(min(values)), math.log(max(values))
    first, last = math.log(points[0]["size"]), math.log(points[-1]["size"])
    left, right, bottom = x + 46, x + across - 14, y + PANEL - 40

    def at(size: float, seconds: float) -> Point:
        over = (math.log(size) - first) / ((last - first) or 1)
        up = (math.log(seconds) - low) / ((high - low) or 1)
        return left + over * (right - left), bottom - up * (bottom - y - 24)

    drawing.write(x + 12, y + 8, f"{name}: {growth_title(points)}", weight="bold")
    drawing.line([(left - 6, y + 16), (left - 6, bottom + 6), (right, bottom + 6)], "#999")
    for seconds in (min(values), max(values)):
        across_from = at(points[0]["size"], seconds)[1] + 4
        drawing.write(left - 9, across_from, f"{seconds * 1e3:,.0f}", size=9, anchor="end")
    for point in points:
        drawing.write(
            at(point["size"], 1)[0], bottom + 19, f"{point['size']:,}", size=9, anchor="middle"
        )
    lanes = list(dict.fromkeys(lane for point in points for lane in point["seconds"]))
    for number, lane in enumerate(lanes):
        colour = COLOURS[number % len(COLOURS)]
        way = [at(p["size"], p["seconds"][lane]) for p in points if lane in p["seconds"]]
        drawing.line(way, colour, 2)
        for place in way:
            drawing.dot(place, colour)
        drawing.rectangle(left, bottom + 28 + number * 12, 9, 9, colour)
        drawing.write(left + 13, bottom + 36 + number * 12, lane, size=9)


def growth_title(points: list[dict[str, Any]]) -> str:
    """What is computed, where it is the same for all sizes; else the kind alone."""
    titles = {point["title"] for point in points}
    return titles.pop() if len(titles) == 1 else points[0]["title"].split()[0]
