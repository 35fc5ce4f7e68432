"""The picture of the house, drawn from its imports.

    python -m tests.support.import_picture

writes docs/architecture.svg (`make picture`). Every package is a frame, every room a box in it with
the modules that it is made of; an arrow goes from a room to one that it imports. Arrows that follow
from others (a to b, b to c: then also a to c) are left out, and so are those between packages but
for one from frame to frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from tests.support.import_graph import between_rooms, circles, import_graph
from tests.support.rooms import ROOMS, Room, room_of

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "docs/architecture.svg"

# All lengths in pixels. Letters of a proportional font are at most so wide, on average.
LETTER, LINE, GAP, MARGIN, TITLE = 5.6, 13, 26, 16, 24
BOX_LETTERS = 26
BOX, PLACE = BOX_LETTERS * LETTER + 12, 8.0
COLOURS = {
    "conversion": "#f6efe2",
    "xlm_torch": "#f9e9e4",
    "xlm_tf": "#fdf3dc",
    "xlm_core": "#e6eef7",
}
Edges = set[tuple[str, str]]


@dataclass
class Box:
    """A room as it is drawn, or the place where an arrow passes between two of them.

    Attributes:
        title, lines: What is written in it; a place has none.
        x, y: The upper left corner.
        width, height: A place is as high as its layer.
    """

    title: str
    lines: list[str]
    width: float = BOX
    height: float = 0
    x: float = 0
    y: float = 0

    @property
    def middle(self) -> float:
        """Where arrows end and begin."""
        return self.x + self.width / 2


@dataclass
class Frame:
    """A package as it is drawn; its corner is that of the picture until it is moved.

    Attributes:
        boxes: Those of its rooms.
        arrows: The boxes and places that each arrow connects, from above.
    """

    package: str
    boxes: list[Box]
    arrows: list[list[Box]]
    width: float
    height: float
    x: float = 0
    y: float = 0

    def move(self, x: float, y: float) -> None:
        """Shift everything in it."""
        self.x, self.y = x, y
        everything = [*self.boxes, *(place for arrow in self.arrows for place in arrow[1:-1])]
        for box in everything:
            box.x, box.y = box.x + x, box.y + y


def picture(root: Path) -> str:
    """The SVG of the packages below `root`."""
    graph = import_graph(root)
    rooms = {module: room_of(module) for module in graph}
    edges = set(between_rooms(graph, rooms))
    in_circles = circles({a: {b for x, b in edges if x == a} for a in {a for a, _ in edges}})
    if in_circles:
        raise ValueError(f"rooms that import each other cannot be drawn: {in_circles}")
    frames = {package: _frame(package, rooms, edges) for package in COLOURS}
    families = [frames["xlm_torch"], frames["xlm_tf"]]
    width = max(frame.width for frame in frames.values())
    width = max(width, sum(frame.width for frame in families) + GAP)
    y: float = MARGIN
    for row in ([frames["conversion"]], families, [frames["xlm_core"]]):
        free = width - sum(frame.width for frame in row) - GAP * (len(row) - 1)
        x = MARGIN + free / 2
        for frame in row:
            frame.move(x, y)
            x += frame.width + GAP
        y += max(frame.height for frame in row) + 2 * GAP
    marks = [_arrow_between(frames[a], frames[b]) for a, b in _packages(edges)]
    marks += [mark for frame in frames.values() for mark in _drawn(frame)]
    return _svg(width + 2 * MARGIN, y - 2 * GAP + MARGIN, marks)


def _frame(package: str, rooms: Mapping[str, str], edges: Edges) -> Frame:
    """The boxes of a package in layers: each room above all that it imports.

    Long arrows get a place in every layer that they cross. The order within a layer follows that of
    the neighbours above and below (Sugiyama's method).
    """
    own = [room for room in ROOMS if room.package == package]
    names = {room.name for room in own}
    inside = _reduced({(a, b) for a, b in edges if a in names and b in names})
    boxes = {room.name: _box(room, rooms) for room in own}
    depth = {name: _depth(name, inside) for name in boxes}
    layers: list[list[Box]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, box in boxes.items():
        layers[depth[name]].append(box)
    arrows = []
    for above, below in sorted(inside):
        places = [Box("", [], width=PLACE) for _ in range(depth[below] + 1, depth[above])]
        for layer, place in enumerate(places, depth[below] + 1):
            layers[layer].append(place)
        arrows.append([boxes[above], *reversed(places), boxes[below]])
    _put_in_order(layers, arrows)
    widths = [sum(box.width + GAP for box in layer) - GAP for layer in layers]
    y: float = TITLE + 10
    for layer, width in zip(reversed(layers), reversed(widths), strict=True):
        x, height = MARGIN + (max(widths) - width) / 2, max(box.height for box in layer)
        for box in layer:
            box.x, box.y = x, y
            box.height = box.height or height
            x += box.width + GAP
        y += height + GAP
    return Frame(package, list(boxes.values()), arrows, max(widths) + 2 * MARGIN, y - GAP + MARGIN)


def _put_in_order(layers: list[list[Box]], arrows: list[list[Box]]) -> None:
    """Sort each layer by where the neighbours of its boxes are, downwards and upwards in turn."""
    neighbours: dict[int, list[Box]] = defaultdict(list)
    for arrow in arrows:
        for above, below in pairwise(arrow):
            neighbours[id(above)].append(below)
            neighbours[id(below)].append(above)
    for sweep in range(8):
        order = range(len(layers)) if sweep % 2 else reversed(range(len(layers)))
        for number in order:
            fixed = number - 1 if sweep % 2 else number + 1
            if not 0 <= fixed < len(layers):
                continue
            place = {id(box): (i + 0.5) / len(layers[fixed]) for i, box in enumerate(layers[fixed])}
            count = len(layers[number])
            wanted = {}
            for i, box in enumerate(layers[number]):
                known = [place[id(n)] for n in neighbours[id(box)] if id(n) in place]
                wanted[id(box)] = sum(known) / len(known) if known else (i + 0.5) / count
            layers[number].sort(key=lambda box: wanted[id(box)])


def _box(room: Room, rooms: Mapping[str, str]) -> Box:
    """Title, and the names of its modules directly below the package or the folder it is."""
    inside = {module for module, name in rooms.items() if name == room.name}
    names: dict[str, None] = {}
    for prefix in room.modules:
        below = sorted(
            module.removeprefix(f"{prefix}.").partition(".")[0]
            for module in inside
            if module.startswith(f"{prefix}.")
        )
        is_whole = len(room.modules) == 1
        leaf = prefix.rpartition(".")[2]
        for name in below if is_whole else [leaf] if prefix in inside or below else []:
            names[name] = None
    lines = _wrapped(list(names))
    return Box(room.name.rpartition(": ")[2], lines, height=(len(lines) + 1) * LINE + 10)


def _wrapped(names: list[str]) -> list[str]:
    lines = [""]
    for number, name in enumerate(names):
        word = name + ("," if number < len(names) - 1 else "")
        if lines[-1] and len(lines[-1]) + len(word) + 1 > BOX_LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [line for line in lines if line]


def _depth(name: str, edges: Edges) -> int:
    below = [b for a, b in edges if a == name]
    return 1 + max((_depth(other, edges) for other in below), default=-1)


def _reduced(edges: Edges) -> Edges:
    """Without those that follow from others."""

    def reached(start: str) -> set[str]:
        pending, seen = [b for a, b in edges if a == start], set[str]()
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending += [b for a, b in edges if a == node]
        return seen

    return {
        (a, b)
        for a, b in edges
        if not any(b in reached(other) for x, other in edges if x == a and other != b)
    }


def _packages(edges: Edges) -> list[tuple[str, str]]:
    package_of = {room.name: room.package for room in ROOMS}
    pairs = {(package_of[a], package_of[b]) for a, b in edges}
    return sorted((a, b) for a, b in pairs if a != b)


def _drawn(frame: Frame) -> list[str]:
    marks = [
        (
            f'<rect x="{frame.x:.0f}" y="{frame.y:.0f}" width="{frame.width:.0f}" '
            f'height="{frame.height:.0f}" rx="8" fill="{COLOURS[frame.package]}" stroke="#999"/>'
        ),
        _words(frame.x + MARGIN, frame.y + 20, frame.package, 14, bold=True),
    ]
    marks += [_arrow(arrow) for arrow in frame.arrows]
    for box in frame.boxes:
        marks.append(
            f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" '
            f'height="{box.height:.0f}" rx="4" fill="#fff" stroke="#666"/>'
        )
        marks.append(_words(box.x + 6, box.y + 15, box.title, 11, bold=True))
        for number, line in enumerate(box.lines, 1):
            marks.append(_words(box.x + 6, box.y + 15 + number * LINE, line, 10))
    return marks


def _arrow(boxes: list[Box]) -> str:
    """From the lower edge of the first through places to the upper edge of the last."""
    x, y = boxes[0].middle, boxes[0].y + boxes[0].height
    path = f"M{x:.0f},{y:.0f}"
    for box in boxes[1:]:
        bend = max(14.0, (box.y - y) / 2)
        path += f" C{x:.0f},{y + bend:.0f} {box.middle:.0f},{box.y - bend:.0f} "
        path += f"{box.middle:.0f},{box.y:.0f}"
        x, y = box.middle, box.y + box.height
        if box is not boxes[-1]:
            path += f" V{y:.0f}"
    return f'<path d="{path}" fill="none" stroke="#456" marker-end="url(#head)"/>'


def _arrow_between(above: Frame, below: Frame) -> str:
    """From the lower edge of one frame to the upper edge of the other."""
    left, right = max(above.x, below.x), min(above.x + above.width, below.x + below.width)
    if above.package == "conversion" and below.package == "xlm_core":
        # Between the families: nothing stands in its way.
        x = above.x + above.width / 2
        left = right = x
    x = (left + right) / 2
    return (
        f'<line x1="{x:.0f}" y1="{above.y + above.height:.0f}" x2="{x:.0f}" y2="{below.y:.0f}" '
        'stroke="#456" stroke-width="2" marker-end="url(#head)"/>'
    )


def _words(x: float, y: float, words: str, size: int, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}"{weight}>{escape(words)}</text>'


def _svg(width: float, height: float, marks: Iterable[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" fill="#222">\n'
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#456"/></marker></defs>\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>\n'
    )
    return head + "\n".join(marks) + "\n</svg>\n"


def main() -> None:
    """Write the picture."""
    (ROOT / PICTURE).write_text(picture(ROOT), encoding="utf-8")


if __name__ == "__main__":
    main()
