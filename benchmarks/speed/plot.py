"""The plot: time of each row for us and our peers, and how cost grows; from the JSON alone."""

from __future__ import annotations

import math
from typing import Any

from benchmarks.speed.drawing import Drawing, Point

WIDTH = 860
LEFT, RIGHT = 210, 120
BAR, GAP = 15, 14
HEAD, PANEL = 92, 200
PEER, LIMIT, GRID = "#aeb3ba", "#c0392b", "#e4e6e9"
COLOURS = {"xlm_torch": "#1b6ca8", "xlm_tf": "#d98d1f"}
TIMED = ("encode", "loss", "train", "pretrain")


def plot(found: dict[str, Any]) -> str:
    """SVG of what `as_json` gives."""
    rows = [row for row in found["rows"] if row["task"]["kind"] in TIMED and timed(row)]
    series = list(dict.fromkeys(point["of"] for point in found["growth"]))
    bars = sum(22 + GAP + BAR * len(timed(row)) for row in rows)
    height = HEAD + bars + (PANEL + 54 if series else 10)
    drawing = Drawing(WIDTH, height)
    about = found["machine"]
    drawing.write(12, 20, "Time in milliseconds (less is better)", size=14, weight="bold")
    drawing.write(12, 37, model_of(rows), size=10)
    drawing.write(12, 51, f"{about['processor']}, {about['cores']} cores", size=10)
    legend(drawing, 68)
    y = float(HEAD)
    for row in rows:
        y = bars_of(drawing, row, y)
    if series:
        lanes = dict.fromkeys(lane for point in found["growth"] for lane in point["seconds"])
        peers = ", ".join(lane for lane in lanes if lane not in COLOURS)
        title = f"How time (ms) grows with size, both scales logarithmic; grey: {peers}"
        drawing.write(12, y + 14, title, size=12, weight="bold")
    across = (WIDTH - 20) / max(len(series), 1)
    for number, name in enumerate(series):
        points = [point for point in found["growth"] if point["of"] == name]
        panel(drawing, name, points, 10 + number * across, y + 32, across)
    return drawing.text()


def timed(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The lanes of a row that have a time."""
    return [lane for lane in row["lanes"] if lane["seconds"]]


def colour_of(lane: str) -> str:
    """This project's two families have their own."""
    return COLOURS.get(lane.partition(",")[0], PEER)


def model_of(rows: list[dict[str, Any]]) -> str:
    """The shape of the model, in words."""
    if not rows:
        return ""
    shape = rows[0]["task"]["shape"]
    return (
        f"{shape['n_layers']} layers of width {shape['emb_dim']:,}, "
        f"vocabulary {shape['vocab_size']:,}; float32 where not said"
    )


def legend(drawing: Drawing, y: float) -> None:
    """What colours mean."""
    x = 12.0
    for name, colour in (*COLOURS.items(), ("peers (with their time over ours)", PEER)):
        drawing.rectangle(x, y - 8, 9, 9, colour)
        drawing.write(x + 13, y, name, size=10)
        x += 40 + 6 * len(name)
    drawing.line([(x, y - 10), (x, y + 3)], LIMIT, 1.5)
    drawing.write(
        x + 6, y, "the products alone, at the best rate measured for any library", size=10
    )


def bars_of(drawing: Drawing, row: dict[str, Any], y: float) -> float:
    """A bar for each lane, each row to a scale of its own; a line where the limit is."""
    lanes = timed(row)
    longest = max(lane["median"] for lane in lanes)
    scale = (WIDTH - LEFT - RIGHT) / longest
    ratios = {bar["peer"]: bar["ratio"] for bar in row["bars"]}
    drawing.write(12, y + 14, row["title"], size=12, weight="bold")
    top = y + 22
    for number, lane in enumerate(lanes):
        place = top + number * BAR
        drawing.write(LEFT - 8, place + BAR - 4, lane["name"], anchor="end")
        length = lane["median"] * scale
        drawing.rectangle(LEFT, place + 1, length, BAR - 3, colour_of(lane["name"]))
        figure = f"{lane['median'] * 1e3:,.0f}"
        if lane["name"] in ratios:
            figure += f"  ({ratios[lane['name']]:.2f} times)"
        drawing.write(LEFT + length + 5, place + BAR - 4, figure)
    bottom = top + BAR * len(lanes)
    if "best" in row["limits"]:
        x = LEFT + row["limits"]["best"]["seconds"] * scale
        drawing.line([(x, top), (x, bottom)], LIMIT, 1.5)
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
    left, right, bottom = x + 46, x + across - 22, y + PANEL - 30

    def at(size: float, seconds: float) -> Point:
        over = (math.log(size) - first) / ((last - first) or 1)
        up = (math.log(seconds) - low) / ((high - low) or 1)
        return left + over * (right - left), bottom - up * (bottom - y - 24)

    drawing.write(x + 12, y + 8, f"{name}: {growth_title(points)}", weight="bold")
    for seconds in ticks(min(values), max(values)):
        level = at(points[0]["size"], seconds)[1]
        drawing.line([(left - 6, level), (right, level)], GRID)
        drawing.write(left - 9, level + 3, f"{seconds * 1e3:,g}", size=9, anchor="end")
    drawing.line([(left - 6, y + 16), (left - 6, bottom + 6), (right, bottom + 6)], "#999")
    for point in points:
        drawing.write(
            at(point["size"], 1)[0], bottom + 19, f"{point['size']:,}", size=9, anchor="middle"
        )
    lanes = list(dict.fromkeys(lane for point in points for lane in point["seconds"]))
    for lane in lanes:
        colour = colour_of(lane)
        way = [at(p["size"], p["seconds"][lane]) for p in points if lane in p["seconds"]]
        drawing.line(way, colour, 2)
        for place in way:
            drawing.dot(place, colour)


def ticks(least: float, most: float) -> list[float]:
    """Seconds of 1, 2 or 5 times a power of ten milliseconds, within these."""
    tens = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    found = [digit * 10.0**ten for ten in tens for digit in (1, 2, 5)]
    return [seconds for seconds in found if least <= seconds <= most]


def growth_title(points: list[dict[str, Any]]) -> str:
    """What is computed, where it is the same for all sizes; else the kind alone."""
    titles = {point["title"] for point in points}
    return titles.pop() if len(titles) == 1 else points[0]["title"].split()[0]
