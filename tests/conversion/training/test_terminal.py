"""What a run shows while it runs, and what a second signal does."""

from __future__ import annotations

import errno
import io
import os
import signal

import pytest

from conversion.reports.html.curves import Curve, curves_plot
from conversion.training import signals
from conversion.training.signals import StopSignals
from conversion.training.terminal import Shown
from xlm_core import XLMConfig
from xlm_core.training.config import DurationSettings
from xlm_core.training.engine import Update
from xlm_core.training.events import Begun, Updated, Warned

CONFIG = XLMConfig(vocab_size=100, emb_dim=8, n_layers=2, n_heads=2)
UPDATED = Updated(Update(4, {"MLM-en": 2.5}, 3, 1000, 0.1, None), 5000, 0.5, 0.25)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(Terminal):
    """A pipe without a reader, a terminal that went away, a file on a full disk."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.asked = number, 0

    def write(self, text: str) -> int:
        self.asked += 1
        raise OSError(self.number, os.strerror(self.number))


def test_a_bar_says_how_far_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    operations = 6 * (2 * 12 * 64 * 1000 - 9 * 64 * 997 + 8 * 100 * 3)
    shown = Shown(terminal, DurationSettings(updates=10), CONFIG, fastest=operations * 16)
    shown(UPDATED)
    assert (
        "50 % of 10 updates, 4,000 tokens/s, 25 % of the fastest products, MLM-en 2.50"
        in terminal.getvalue()
    )
    shown(Warned("odd"))
    assert terminal.getvalue().endswith("warning: odd\n")
    shown.close()


def test_without_a_terminal_there_are_lines_alone() -> None:
    stream = io.StringIO()
    shown = Shown(stream, DurationSettings(tokens=10), CONFIG)
    shown(Begun(0, 0))
    shown(UPDATED)
    assert stream.getvalue() == "begins\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC])
def test_training_goes_on_if_nobody_reads(number: int) -> None:
    closed = Closed(number)
    shown = Shown(closed, DurationSettings(updates=10), CONFIG)
    for event in (Begun(0, 0), Warned("odd"), UPDATED):
        shown(event)
    shown.close()
    assert closed.asked == 1
    closed = Closed(number)
    shown = Shown(closed, DurationSettings(updates=10), CONFIG)
    for event in (UPDATED, UPDATED, Warned("odd")):
        shown(event)
    assert closed.asked == 2  # its bar, and a line


def test_training_ends_if_the_bar_cannot_be_removed() -> None:
    terminal = Terminal()
    shown = Shown(terminal, DurationSettings(updates=10), CONFIG)
    shown(UPDATED)
    terminal.write = Closed(errno.EIO).write  # type: ignore[method-assign]
    shown.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without SIGHUP")
def test_a_closed_terminal_is_no_second_signal() -> None:
    """The shell sends SIGHUP, and so does the system once the shell is gone."""
    before = signal.getsignal(signal.SIGHUP)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without SIGHUP")
def test_a_run_of_nohup_outlives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_launcher_passes_on_what_came_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler ends every process, and torchrun then ends its own once more."""
    now = [100.0]
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] = 101.0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        now[0] = 106.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_curves_are_drawn_within_their_frame() -> None:
    points = [(at, at * 0.37 % 1) for at in range(1000)] + [(1000, float("nan"))]
    plot = curves_plot("loss <x>", [Curve("valid", points), Curve("test", [(0, 1e-9)])], level=2.0)
    assert "loss &lt;x&gt;" in plot
    assert "nan" not in plot
    line = plot.partition('class="curve one" points="')[2].partition('"')[0].split()
    assert len(line) == 500  # the mean of two each
    assert all(0 <= float(pair.split(",")[1]) <= 240 for pair in line)
    assert curves_plot("none", [Curve("valid", [(1, float("inf"))])]) == ""


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [1e-12, 2e-12], [-3.0, 1e9]])
def test_any_numbers_have_ticks(values: list[float]) -> None:
    plot = curves_plot("x", [Curve("x", list(enumerate(values)))])
    assert 3 <= plot.count('class="axis"') <= 9
