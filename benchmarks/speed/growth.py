"""How cost grows with batch, length, layers and vocabulary."""

from __future__ import annotations

from typing import Any

from benchmarks.speed.measure import Effort, Turn, take_turns
from benchmarks.speed.pool import Pool
from benchmarks.speed.rows import OURS, OURS_TF, PEER_4, Lane
from benchmarks.speed.tasks import Shape, Task, growing

LANES = (OURS, PEER_4, OURS_TF)


def measure_growth(shape: Shape, pool: Pool, effort: Effort) -> list[dict[str, Any]]:
    """Seconds of each lane for each size: [{"of", "size", "title", "seconds": {lane: s}}, ...].

    A task that stands in several series is measured once.
    """
    known: dict[Task, dict[str, float]] = {}
    found = []
    for of, size, task in growing(Task("encode", 8, 128, shape=shape)):
        if task not in known:
            known[task] = measure_size(task, pool, effort)
        what = "loss" if task.kind == "loss" else "encode"
        title = f"{what} {task.batch} x {task.length}"
        found.append({"of": of, "size": size, "title": title, "seconds": known[task]})
    return found


def measure_size(task: Task, pool: Pool, effort: Effort) -> dict[str, float]:
    """Median seconds by lane, with random weights: sizes differ from those of the folder."""
    turns = []
    for lane in LANES:
        options = lane.options | {"random": True}
        named = Lane(lane.name, lane.contender, options)
        turns.append(Turn(named, pool.of(lane.contender), task))
    values = task.__dict__ | {"shape": task.shape.__dict__}
    for turn in turns:
        turn.ask("prepare", task=values, options=turn.lane.options)
    for turn in turns:
        turn.hear()
    for turn in turns:
        turn.request("run")  # warms up
        turn.result.seconds.clear()
    take_turns(turns, effort)
    for turn in turns:
        turn.process.ask({"do": "forget", "kinds": []})
        turn.process.answer()
    return {t.lane.name: t.result.median for t in turns if t.result.seconds}
