"""Logs of a run: lines, a table, and files for TensorBoard."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from xlm_core.containers import event_files
from xlm_core.containers.event_files import _masked
from xlm_core.training.engine import Update
from xlm_core.training.events import Begun, Ended, Evaluated, Event, Logged, Saved, Updated, Warned
from xlm_core.training.logs import (
    EVENTS,
    LINES,
    TABLE,
    EventLog,
    LineLog,
    TableLog,
    line_of,
    numbers_of,
    read_table,
)

LOGGED = Logged(50, 12_345, 8.5, {"MLM-en": 6.5}, 1e-4, 0.25, 3456.7, {"MLM-en": 1.5})
EVALUATED = Evaluated(50, 12_345, 9.0, {"valid_en_mlm_ppl": 4.25}, True)
COLUMNS = ["update", "tokens", "seconds", "learning_rate", "gradient_norm", "tokens_per_second"]
COLUMNS += ["train_MLM-en_loss", "passes_MLM-en", "valid_en_mlm_ppl"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (Begun(0, 0, None, {"MLM-en": 5.125}), "begins; entropy of words by their counts: MLM-en"),
        (Begun(3, 9, Path("c/update-000003")), "update 3: goes on from update-000003"),
        (LOGGED, "12,345 tokens | MLM-en 6.5000 | lr 0.0001 | norm 0.25 | 3,457 tokens/s | passes"),
        (EVALUATED, "update 50 | valid_en_mlm_ppl 4.250 | best"),
        (Saved(Path("c/best"), 1), "update 1: saved c/best"),
        (Warned("odd"), "warning: odd"),
        (Ended("early", 7, 70, 61.0), "stopped early: the criterion got no better, after 70 tok"),
    ],
)
def test_events_are_lines(event: Event, expected: str) -> None:
    assert expected in (line_of(event) or "")


def test_single_updates_are_no_lines() -> None:
    event = Updated(Update(0, {}, 1, 1, 0.1, None), 1, 0.5, 0.1)
    assert line_of(event) is None
    assert numbers_of(event) is None


def test_lines_are_appended_and_shown(tmp_path: Path) -> None:
    shown: list[str] = []
    for _ in range(2):
        log = LineLog(tmp_path / "log.txt", shown.append)
        log(EVALUATED)
        log.close()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == len(shown) == 2
    assert all(line.endswith(shown[0]) and line[:2] == "20" for line in lines)


def test_the_table_goes_on_where_the_run_does(tmp_path: Path) -> None:
    file = tmp_path / "figures.csv"
    log = TableLog(file, COLUMNS)
    for event in (LOGGED, EVALUATED, Logged(60, 20_000, 9.5, {}, 1e-4, None, 1.0, {})):
        log(event)
    log.close()
    # What another program wrote, and a row that was cut off.
    file.write_bytes(file.read_bytes() + b"all,1,2\n50,\xff,3\n50,1" + b",2" * 40 + b"\n70,25000,1")
    log = TableLog(file, COLUMNS, update=50)
    log(Evaluated(100, 1, 10.0, {"valid_en_mlm_ppl": math.inf}))
    log.close()
    rows = read_table(file)
    assert [row["update"] for row in rows] == ["50", "50", "100"]
    assert rows[0]["train_MLM-en_loss"] == "6.5"
    assert rows[1]["valid_en_mlm_ppl"] == "4.25"
    assert rows[2]["valid_en_mlm_ppl"] == "inf"
    TableLog(file, COLUMNS).close()  # a run that begins anew
    assert read_table(file) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    """Closing tries to write the same again: that error would hide the one that names the rest."""
    (tmp_path / "log").symlink_to("/dev/full")
    log = LineLog(tmp_path / "log")
    with pytest.raises(OSError, match="No space left"):
        log(EVALUATED)
    log.close()


@pytest.mark.parametrize("jump", [-3600.0, 0.0, 10.0])
def test_files_of_events_are_in_the_order_in_which_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """TensorBoard reads them by name, and what begins later voids what came before.

    A clock may go back, two may begin in one second, and another machine has another name.
    """
    (tmp_path / "events.out.tfevents.x.profile").write_bytes(b"")
    found: list[Path] = []
    for host, now in (("b", 2e9), ("a", 2e9 + jump), ("a", 2e9 + jump)):
        monkeypatch.setattr(event_files.time, "time", lambda now=now: now)
        monkeypatch.setattr(event_files.socket, "gethostname", lambda host=host: host)
        EventLog(tmp_path, update=100).close()
        [new] = {*tmp_path.glob("events.out.tfevents.2*")} - {*found}
        found.append(new)
    assert found == sorted(found)
    assert found[0].name.startswith("events.out.tfevents.2000000000.b.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
@pytest.mark.parametrize("name", [LINES, TABLE, EVENTS])
def test_the_log_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    log: LineLog | TableLog | EventLog
    if name == LINES:
        log = LineLog(tmp_path / name)
    elif name == TABLE:
        log = TableLog(tmp_path / name, COLUMNS)
    else:
        log = EventLog(tmp_path / name)
    file = log._events._file if isinstance(log, EventLog) else log._file
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file.fileno())  # the disk fills
    os.close(full)
    with pytest.raises(OSError, match="No space left") as raised:
        log(LOGGED)
    assert raised.value.filename == str(tmp_path / name)
    log.close()


def test_checks_of_records_are_castagnolis() -> None:
    """The example of RFC 3720, B.4: 32 bytes of zero give 8a9136aa."""
    check = 0x8A9136AA
    rotated = (check >> 15 | check << 17) & 0xFFFFFFFF
    assert _masked(bytes(32)) == (rotated + 0xA282EAD8) & 0xFFFFFFFF
