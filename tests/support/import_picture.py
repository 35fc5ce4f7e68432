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
from pathlib import Path

from tests.support.import_graph import between_rooms, circles, import_graph
from tests.support.rooms import ROOMS, Room, room_of

ROOT = Path(__file__).resolve().parents[2]
PICTURE = "docs/architecture.svg"

# All lengths in pixels. Letters of a proportional font are at most so wide, on average.
LETTER, LINE, GAP, MARGIN, TITLE = 5.6, 13, 26, 16, 24
BOX_LETTERS = 26
BOX = BOX_LETTERS * LETTER + 12
COLOURS = {
    "conversion": "#f6efe2",
    "xlm_torch": "#f9e9e4",
    "xlm_tf": "#fdf3dc",
    "xlm_core": "#e6eef7",
}
Edges = set[tuple[str, str]]


@dataclass
class Box:
    """A room as it is drawn: `x`, `y` is its upper left corner."""

    title: str
    lines: list[str]
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        """With its title."""
        return (len(self.lines) + 1) * LINE + 10


@dataclass
class Frame:
    """A package as it is drawn; its corner is that of the picture until it is moved."""

    package: str
    boxes: dict[str, Box]
    edges: Edges
    width: float = 0
    height: float = 0

    def move(self, x: float, y: float) -> None:
        """Shift everything in it."""
        self.x, self.y = x, y
        for box in self.boxes.values():
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
    """The boxes of a package in layers: each room above all that it imports."""
    own = [room for room in ROOMS if room.package == package]
    names = {room.name for room in own}
    inside = {(a, b) for a, b in edges if a in names and b in names}
    boxes = {room.name: _box(room, rooms) for room in own}
    layers: dict[int, list[str]] = defaultdict(list)
    for room in own:
        layers[_depth(room.name, inside)].append(room.name)
    per_row = 4
    y, widest = TITLE + 10.0, 1
    for depth in sorted(layers, reverse=True):
        for start in range(0, len(layers[depth]), per_row):
            row = layers[depth][start : start + per_row]
            widest = max(widest, len(row))
            for number, name in enumerate(row):
                boxes[name].x = MARGIN + number * (BOX + GAP)
                boxes[name].y = y
            y += max(boxes[name].height for name in row) + GAP
    width = 2 * MARGIN + widest * (BOX + GAP) - GAP
    for row_boxes in _rows(boxes.values()):
        free = width - 2 * MARGIN - len(row_boxes) * (BOX + GAP) + GAP
        for box in row_boxes:
            box.x += free / 2
    return Frame(package, boxes, _reduced(inside), width, y - GAP + MARGIN)


def _rows(boxes: Iterable[Box]) -> Iterable[list[Box]]:
    by_height: dict[float, list[Box]] = defaultdict(list)
    for box in boxes:
        by_height[box.y].append(box)
    return by_height.values()


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
    return Box(room.name.rpartition(": ")[2], _wrapped(list(names)))


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
    for above, below in sorted(frame.edges):
        a, b = frame.boxes[above], frame.boxes[below]
        marks.append(_arrow(a.x + BOX / 2, a.y + a.height, b.x + BOX / 2, b.y))
    for box in frame.boxes.values():
        marks.append(
            f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX:.0f}" height="{box.height:.0f}" '
            'rx="4" fill="#fff" stroke="#666"/>'
        )
        marks.append(_words(box.x + 6, box.y + 15, box.title, 11, bold=True))
        for number, line in enumerate(box.lines, 1):
            marks.append(_words(box.x + 6, box.y + 15 + number * LINE, line, 10))
    return marks


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = max(18.0, (y2 - y1) / 2)
    return (
        f'<path d="M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + bend:.0f} {x2:.0f},{y2 - bend:.0f} '
        f'{x2:.0f},{y2:.0f}" fill="none" stroke="#456" marker-end="url(#head)"/>'
    )


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
