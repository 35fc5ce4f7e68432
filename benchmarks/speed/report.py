"""Results as a table to read and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.speed.results import LaneResult, RowResult

PACKAGES = ("torch", "tensorflow", "keras", "transformers", "tf-keras", "numpy")


def machine() -> dict[str, Any]:
    """Processor, cores, and versions of what the driver's environment holds."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: found for name in PACKAGES if (found := installed(name))},
    }


def processor() -> str:
    """Its name and family, with the instructions for matrices that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split("\t:", 1) for line in lines if "\t:" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    title = fields.get("model name", platform.machine())
    family = f"family {fields.get('cpu family', '?')} model {fields.get('model', '?')}"
    return f"{title} ({family}; {', '.join(name for name in wanted if name in flags)})"


def installed(name: str) -> str:
    """A package's version, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def heading(about: dict[str, Any]) -> str:
    """The machine, in lines."""
    versions = ", ".join(f"{name} {found}" for name, found in about["versions"].items())
    return f"{about['processor']}, {about['cores']} cores\n{about['system']}\n{versions}"


def table(result: RowResult) -> str:
    """A row, in lines."""
    return "\n".join(lines_of(result))


def lines_of(result: RowResult) -> Iterator[str]:
    """See `table`."""
    kind = result.row.task.kind
    yield f"\n{result.row.title}  [{result.row.name}]"
    for by, limit in result.limits.items():
        title = "limit" if not by else f"limit by {by}"
        yield (
            f"  {title}: {limit.seconds * 1e3:.0f} ms at {limit.rate / 1e9:.0f} GFLOP/s "
            f"({', '.join(limit.by)})"
            + (f", of which memory {limit.memory * 1e3:.0f} ms" if limit.memory else "")
        )
    for lane in result.lanes:
        if lane.missing:
            yield f"  {lane.name:28} -  {lane.missing}"
        elif kind == "one row":
            for name, rate in lane.details.items():
                yield f"  {name:28} {rate:8.1f} GB/s"
        elif kind == "parts":
            for name, milliseconds in lane.details.items():
                yield f"  {name:28} {milliseconds:8.1f} ms"
        elif kind == "few rows":
            for name, ratio in lane.details.items():
                yield f"  {name:28} {ratio:8.2f} times"
        elif kind == "rounding":
            for name, error in lane.details.items():
                yield f"  {name:28} {error:.1e} of its size (root mean squares)"
        elif kind == "memory":
            yield f"  {lane.name:28} {memory(lane)}"
        else:
            yield f"  {lane.name:28} {times(result, lane)}"
    for bar in result.bars():
        verdict = "met" if bar["met"] else "NOT met"
        allowed = f" less {bar['allowance']:.0%}" if bar["allowance"] else ""
        if bar["out_of_reach"]:
            verdict += f"; the limit allows {bar['limit_ratio']:.2f}"
        yield (
            f"  {bar['ours']} against {bar['peer']}: {bar['ratio']:.2f} times "
            f"(at least {bar['at_least']:g}{allowed}: {verdict})"
        )
    for share in result.shares():
        verdict = "met" if share["met"] else "NOT met"
        by = f" by {share['by']}" if share["by"] else ""
        yield (
            f"  {share['ours']}, share of the limit{by}: {share['share']:.0%} "
            f"(at least {share['at_least']:.0%}: {verdict})"
        )


def times(result: RowResult, lane: LaneResult) -> str:
    """Figures of a timed lane."""
    share, error = result.share(lane), lane.error
    parts = [f"{lane.median * 1e3:8.1f} ms, least {min(lane.seconds) * 1e3:8.1f}"]
    parts += ["a token"] if result.row.task.kind == "generate" else []
    parts.append(f"{share:4.0%} of the limit" if share is not None else "")
    if "input" in lane.details:
        task = result.row.task
        tokens = round(task.batch * task.length * task.filled)
        parts.append(f"{tokens / lane.median:.0f} tokens/s")
        reads = lane.details["input"] / lane.median
        verdict = f" (below 5%: {'met' if reads < 0.05 else 'NOT met'})" if lane.ours else ""
        parts.append(f"input {reads:.1%}{verdict}")
    parts.append(f"error {error:.1e}" if error is not None else "")
    parts.append(f"rms {lane.rms:.1e}" if lane.rms is not None else "")
    parts.append(f"peak {lane.peak_mb:.0f} MB" if lane.peak_mb else "")
    return "  ".join(part for part in parts if part)


def memory(lane: LaneResult) -> str:
    """Figures of a lane whose memory was measured."""
    parts = lane.details
    alone = lane.step_mb - parts["libraries_mb"]
    return (
        f"{lane.step_mb:8.0f} MB beyond parameters, gradients and optimizer state "
        f"({parts['known_mb']:.0f} MB); {alone:.0f} MB beyond the libraries as well"
    )


def as_json(
    about: dict[str, Any], results: list[RowResult], growth: list[dict[str, Any]]
) -> dict[str, Any]:
    """Everything, for a file."""
    return {"machine": about, "rows": [row_json(r) for r in results], "growth": growth}


def row_json(result: RowResult) -> dict[str, Any]:
    """A row."""
    lanes = []
    for lane in result.lanes:
        values = asdict(lane)
        if lane.seconds:
            values |= {"median": lane.median, "least": min(lane.seconds)}
            values["share"] = result.share(lane)
        lanes.append(values)
    return {
        "name": result.row.name,
        "title": result.row.title,
        "task": asdict(result.row.task),
        "lanes": lanes,
        "limits": {by or "best": asdict(limit) for by, limit in result.limits.items()},
        "bars": result.bars(),
        "shares": result.shares(),
    }
