"""The loop of a run, with an engine that needs no framework."""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_engine import FakeEngine
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    GenerationError,
    TrainingError,
    XLMWarning,
)
from xlm_core.objectives import Task
from xlm_core.training import checkpoints
from xlm_core.training.checkpoints import LOCK, RunFolder
from xlm_core.training.config import TrainingConfig
from xlm_core.training.evaluating import evaluate
from xlm_core.training.events import (
    Begun,
    Ended,
    Evaluated,
    Event,
    Failed,
    Logged,
    Saved,
    Updated,
    Warned,
)
from xlm_core.training.figures import Tally
from xlm_core.training.loop import Loop
from xlm_core.training.saved import STATE

CONFIG = """
output = "run"
tokenizer = "tok"
model = {{ emb_dim = 8 }}
objectives = {{ mlm = ["en"] }}
data = {{ train = {{ en = "a" }}, valid = {{ en = "b" }} }}
optimizer = {{ {optimizer} }}
duration = {{ {duration} }}
stopping = {{ {stopping} }}
"""
PPL = "valid_en_mlm_ppl"
TASK = Task("mlm", ("en",))


class Run:
    """A run in a folder, whose evaluations give figures in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, list[Event]()
        self.figures = [5.0, 4.0, 3.0, 2.0, 1.0]

    def go(
        self,
        engine: FakeEngine,
        *,
        duration: str = "updates = 8, evaluate_every = 2, save_every = 3, log_every = 2",
        stopping: str = "",
        optimizer: str = "warmup_updates = 10",
        resume: bool = False,
        evaluations: bool = True,
        keep: int = 1,
        **more: Any,
    ) -> Ended:
        text = CONFIG.format(duration=duration, stopping=stopping, optimizer=optimizer)
        file = self.folder / "config.toml"
        self.folder.mkdir(exist_ok=True)
        file.write_text(text)
        config = TrainingConfig.from_toml(file)
        run = RunFolder(self.folder / "run", keep=keep)
        checkpoint = run.begin(file, config, resume=resume)

        def evaluate() -> dict[str, float]:
            return {PPL: self.figures[min(engine.update // 2 - 1, 4)]}

        loop = Loop(
            engine,
            config,
            run,
            listeners=[self.events.append],
            **{"evaluate": evaluate if evaluations else None, **more},
        )
        return loop.run(checkpoint)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def updates(self, kind: type[Event]) -> list[int]:
        return [event.update for event in self.of(kind)]

    def weights(self, name: str) -> str:
        return (self.folder / "run" / name / "weights").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_intervals_end_where_they_should(run: Run) -> None:
    engine = FakeEngine(range(1, 9))
    ended = run.go(engine)
    assert (ended.reason, ended.update, ended.tokens) == ("done", 8, 80)
    assert run.updates(Evaluated) == [2, 4, 6, 8]
    assert run.updates(Logged) == [2, 4, 6, 8]
    assert run.updates(Saved) == [3, 6, 8, 8]  # at the end, and the model
    assert [event.losses["MLM-en"] for event in run.of(Logged)] == [1.5, 3.5, 5.5, 7.5]
    assert [event.gradient_norm for event in run.of(Logged)] == [0.75, 1.75, 2.75, 3.75]
    assert [event.share for event in run.of(Updated)][-1] == 1.0
    assert [path.name for path in RunFolder(run.folder / "run").all()] == ["update-000008"]
    assert run.weights("model") == repr(engine.weight)
    assert isinstance(run.events[0], Begun)
    assert isinstance(run.events[-1], Ended)


def test_where_nothing_is_evaluated_nothing_is_told(run: Run) -> None:
    run.go(FakeEngine(), evaluate=dict)
    assert run.of(Evaluated) == []


def test_a_run_within_its_warmup_is_told(run: Run) -> None:
    run.go(FakeEngine(), optimizer="warmup_updates = 9")
    (warned,) = run.of(Warned)
    assert "after 8 updates, within its warm-up of 9 (optimizer.warmup_updates)" in warned.text
    again = Run(run.folder / "again")
    again.go(FakeEngine(), optimizer="warmup_updates = 8")
    assert again.of(Warned) == []
    behind, engine = Run(run.folder / "behind"), FakeEngine()
    engine.updates_before = 1  # of a run of the original
    behind.go(engine, optimizer="warmup_updates = 9")
    assert behind.of(Warned) == []


def test_a_run_behind_its_end_is_told(run: Run) -> None:
    run.go(FakeEngine(), optimizer="warmup_updates = 9")
    said = "8 updates were made, and duration.updates is 5: no more are made."
    for updates, told in ((8, []), (5, [said])):
        run.events.clear()
        duration = f"updates = {updates}, evaluate_every = 2, save_every = 3"
        warmup = "warmup_updates = 9"
        ended = run.go(FakeEngine(), duration=duration, optimizer=warmup, resume=True)
        assert (ended.reason, ended.update) == ("done", 8)
        assert [event.text for event in run.of(Warned)] == told


def test_duration_and_intervals_count_tokens(run: Run) -> None:
    engine = FakeEngine(tokens=7)
    run.go(
        engine,
        duration="tokens = 40, interval_unit = 'tokens', evaluate_every = 20, save_every = 0, "
        "log_every = 10",
    )
    assert engine.update == 6  # 42 tokens
    assert run.updates(Evaluated) == [3, 6]  # 21 and 42 tokens
    assert run.updates(Logged) == [2, 3, 5, 6]  # 14, 21, 35 and 42 tokens
    assert run.updates(Saved) == [6]  # the model alone


def test_the_best_model_is_kept_and_patience_ends(run: Run) -> None:
    run.figures = [5.0, 3.0, 4.0, 3.0, 2.0]
    engine = FakeEngine()
    longer = "updates = 12, evaluate_every = 2, save_every = 3"
    stopping = f"criterion = '{PPL}', patience = 1"
    ended = run.go(engine, duration=longer, stopping=stopping)
    assert (ended.reason, ended.update) == ("early", 8)
    assert [event.is_best for event in run.of(Evaluated)] == [True, True, False, False]
    other = FakeEngine()
    for _, _update in zip(range(4), other.updates(), strict=False):
        pass
    assert run.weights("best") == repr(other.weight)
    again = FakeEngine()
    assert run.go(again, duration=longer, stopping=stopping, resume=True).update == 8


def test_a_longer_run_knows_what_its_last_evaluation_was(run: Run) -> None:
    """One at the end, of an update whose checkpoint was written before."""
    stopping = f"criterion = '{PPL}', patience = 5"
    intervals = "save_every = 2, evaluate_every = 100"
    run.figures = [9.0, 5.0, 7.0]
    run.go(FakeEngine(), duration=f"updates = 4, {intervals}", stopping=stopping)
    best = run.weights("best")
    run.go(FakeEngine(), duration=f"updates = 6, {intervals}", stopping=stopping, resume=True)
    assert [(event.update, event.is_best) for event in run.of(Evaluated)] == [(4, True), (6, False)]
    assert run.weights("best") == best
    run.go(FakeEngine(), duration=f"updates = 6, {intervals}", stopping=stopping, resume=True)
    assert run.updates(Evaluated) == [4, 6]


@pytest.mark.parametrize("stops_at", range(8))
def test_a_run_that_goes_on_is_the_run(tmp_path: Path, stops_at: int) -> None:
    """Stopped after any update: the same weights, lines and decisions as without."""
    whole = Run(tmp_path / "whole")
    whole.figures = [5.0, 6.0, 4.0, 7.0]
    stopping = f"criterion = '{PPL}', patience = 5"
    whole.go(FakeEngine(range(8)), stopping=stopping)
    parts = Run(tmp_path / "parts")
    parts.figures = whole.figures
    engine = FakeEngine(range(8))
    first = parts.go(engine, stopping=stopping, stop=lambda: engine.update == stops_at)
    assert (first.reason, first.update) == ("interrupted", stops_at)
    second = FakeEngine(range(8))
    assert parts.go(second, stopping=stopping, resume=True).reason == "done"
    for name in ("model", "best"):
        assert parts.weights(name) == whole.weights(name)
    for kind in (Logged, Evaluated):
        assert [
            (e.update, getattr(e, "losses", None), getattr(e, "figures", None))
            for e in parts.of(kind)
        ] == [
            (e.update, getattr(e, "losses", None), getattr(e, "figures", None))
            for e in whole.of(kind)
        ]


def test_nan_keeps_the_last_good_checkpoint(run: Run) -> None:
    started = r"start another run from its model \(start.model = '.*update-000003/model'\)"
    with pytest.raises(TrainingError, match=rf"MLM-en is nan in update 4.*{started}"):
        run.go(FakeEngine([1.0, 1.0, 1.0, 1.0, math.nan]))
    assert [path.name for path in RunFolder(run.folder / "run").all()] == ["update-000003"]
    assert not (run.folder / "run" / "model").exists()


def test_nan_before_the_first_checkpoint(run: Run) -> None:
    with pytest.raises(TrainingError, match="There is no checkpoint yet"):
        run.go(FakeEngine([math.nan]))


def test_an_evaluation_that_fails_keeps_the_last_good_checkpoint(run: Run) -> None:
    engine = FakeEngine()

    def evaluate() -> dict[str, float]:
        if engine.update == 4:
            raise GenerationError("no token is possible.")
        return {}

    with pytest.raises(TrainingError, match=r"no token is possible. The last .*update-000003.*res"):
        run.go(engine, evaluate=evaluate)
    assert isinstance(run.events[-1], Failed)


def test_a_process_that_ends_is_told_in_words(run: Run) -> None:
    """Wherever: a reader's end interrupts whatever the run does, and is no full disk."""
    engine = FakeEngine()

    class Lost(FakeEngine):
        def save_model(self, folder: Any) -> None:
            if self.update == 6:
                raise RuntimeError("peer 1")
            super().save_model(folder)

    def passes(update: int) -> dict[str, float]:
        if engine.update == 4:
            raise RuntimeError("peer 1")
        return {}

    words = r"^another process ended \(peer 1\). The last good .*update-000003: .*\(--resume\).$"
    with pytest.raises(TrainingError, match=words):
        run.go(engine, passes=passes, evaluations=False)
    assert isinstance(run.events[-1], Failed)
    run.folder = run.folder / "again"
    with pytest.raises(TrainingError, match=words):
        run.go(Lost(), evaluations=False)
    run.folder = run.folder / "again"
    engine.update, error = 0, RuntimeError("a mistake of ours")
    with pytest.raises(RuntimeError, match="a mistake of ours") as raised:
        run.go(FakeEngine(), evaluate=lambda: (_ for _ in ()).throw(error))
    assert raised.value is error


def test_an_evaluation_that_is_nan_keeps_the_last_good_checkpoint(run: Run) -> None:
    """Of weights that are bad, which a checkpoint would hold in place of the last good ones."""
    options: dict[str, Any] = {"duration": "updates = 4, evaluate_every = 2, save_every = 2"}

    class Bad(FakeEngine):
        def evaluate(self, batches: Any) -> Tally:
            return Tally(math.nan if self.update > bad_after else 2.0, 1, 1)

    for bad_after in (2, 3):
        engine = Bad()
        figures = functools.partial(evaluate, engine, {"valid": [(TASK, [])]}, lambda _: 0, 1)
        run.folder = run.folder / f"{bad_after}"
        if bad_after == 3:  # the last evaluation, between intervals
            options["duration"] = "updates = 4, evaluate_every = 3, save_every = 2"
        message = r"MLM-en on valid is nan, evaluated after 4 updates.*update-000002"
        with pytest.raises(TrainingError, match=message):
            run.go(engine, evaluate=figures, **options)
        kept = RunFolder(run.folder / "run").all()
        assert [path.name for path in kept] == ["update-000002"]


def test_norms_of_an_earlier_version_are_means(run: Run) -> None:
    """Its checkpoints have the sum of all updates of an interval, and not how many these were."""
    run.go(FakeEngine(), duration="updates = 3, log_every = 5")
    [saved] = RunFolder(run.folder / "run").all()
    state = json.loads((saved / STATE).read_text())
    del state["caller"]["interval"]["norms"]
    (saved / STATE).write_text(json.dumps(state))
    run.go(FakeEngine(), duration="updates = 5, log_every = 5", resume=True)
    assert run.of(Logged)[-1].gradient_norm == 1.5


def test_a_run_that_was_interrupted_once_is_over_at_its_end(run: Run) -> None:
    """Without intervals of checkpoints too: that of the interruption would train the rest again."""
    engine = FakeEngine()
    options: dict[str, Any] = {"duration": "updates = 8, save_every = 0", "evaluations": False}
    ended = run.go(engine, stop=lambda: engine.update == 4, **options)
    assert (ended.reason, ended.update) == ("interrupted", 4)
    for begins in (4, 8, 8):
        assert run.go(FakeEngine(), resume=True, **options).reason == "done"
        assert run.of(Begun)[-1].update == begins


def test_a_checkpoint_is_not_written_twice(run: Run) -> None:
    """A signal that arrives just behind it, or at once in a run that goes on, needs no other."""
    engine = FakeEngine()
    ended = run.go(engine, stop=lambda: engine.update == 3, evaluations=False)
    assert (ended.reason, run.updates(Saved)) == ("interrupted", [3])
    ended = run.go(FakeEngine(), stop=lambda: True, resume=True, evaluations=False)
    assert (ended.reason, ended.update, run.updates(Saved)) == ("interrupted", 3, [3])


def test_a_criterion_that_nothing_computes_is_refused(run: Run) -> None:
    for figures, words in (
        (None, "and nothing is evaluated: give evaluate="),
        (lambda: {"valid_en_mlm_acc": 1.0}, "which the evaluation does not compute: it has valid"),
    ):
        with pytest.raises((ConfigError, TrainingError), match=words):
            run.go(FakeEngine(), stopping=f'criterion = "{PPL}"', evaluate=figures)


def test_texts_are_counted_once_in_a_whole_run(run: Run) -> None:
    counted: list[int] = []

    def count() -> dict[str, float]:
        counted.append(1)
        return {"MLM-en": 3.0}

    for updates, resume in ((3, False), (6, True)):
        engine = FakeEngine()
        run.go(engine, duration=f"updates = {updates}", resume=resume, entropies=count)
    assert [event.entropies for event in run.of(Begun)] == [{"MLM-en": 3.0}] * 2
    assert len(counted) == 1


def test_updates_that_float16_leaves_out_have_no_norm(run: Run) -> None:
    engine = FakeEngine([3.0, math.inf, 5.0, math.inf, math.inf])
    run.go(engine, duration="updates = 6, log_every = 3", evaluations=False)
    assert [event.gradient_norm for event in run.of(Logged)] == [2.0, None]


def test_a_full_disk_keeps_the_last_good_checkpoint(run: Run) -> None:
    engine = FakeEngine()

    def fill(update: int) -> dict[str, float]:
        engine.full_disk = update >= 6
        return {}

    with pytest.raises(TrainingError, match=r"update 6: .*written.*update-000003: .*resume"):
        run.go(engine, passes=fill, evaluations=False)
    # The log is read by those who gave the option, and those who gave the argument.
    assert run.of(Failed)[0].text.endswith("go on from it by resume=True (--resume).")
    folder = run.folder / "run" / "checkpoints"
    assert [path.name for path in folder.iterdir()] == ["update-000003"]


def test_a_full_disk_at_the_start_is_no_hindrance_later(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with nothing in it, not even what a run is told by."""

    def full(path: Path) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoints, "written_whole", full)
    with pytest.raises(OSError, match="No space left"):
        run.go(FakeEngine())
    monkeypatch.undo()
    assert run.go(FakeEngine()).reason == "done"


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("saves", [3, 0])
def test_a_folder_that_goes_away_while_its_run_goes_on(
    run: Run, saves: int, replaced: bool
) -> None:
    """Nothing of a run grows in its old place, nor among the files of a run that began there."""
    folder, file = run.folder / "run", run.folder / "config.toml"
    names = {"config.toml", "checkpoints"}

    def move(update: int) -> dict[str, float]:
        if update == 4:
            folder.rename(run.folder / "moved")
            if replaced:
                RunFolder(folder).begin(file, TrainingConfig.from_toml(file), resume=False)
                (folder / LOCK).touch()
        return {}

    with (
        RunFolder(folder).held(),
        pytest.raises(TrainingError, match="run was moved or removed while the run went on"),
    ):
        run.go(
            FakeEngine(),
            duration=f"updates = 8, save_every = {saves}, log_every = 1",
            evaluations=False,
            passes=move,
        )
    assert isinstance(run.events[-1], Failed)
    left = {path.name for path in folder.rglob("*")} if folder.exists() else set()
    assert left == ({*names, LOCK} if replaced else set())
    kept = {path.name for path in (run.folder / "moved" / "checkpoints").iterdir()}
    assert kept == ({"update-000003"} if saves else set())


def test_a_lock_that_another_process_left_is_none_of_another_run(run: Run) -> None:
    (run.folder / "run").mkdir()
    (run.folder / "run" / LOCK).touch()
    assert run.go(FakeEngine()).reason == "done"


def test_what_a_killed_process_left_is_removed(run: Run) -> None:
    left = run.folder / "run" / "checkpoints" / ".update-000003.17.tmp"
    run.go(FakeEngine(), duration="updates = 3, save_every = 1")
    left.mkdir()
    run.go(FakeEngine(), duration="updates = 4, save_every = 1", resume=True)
    assert not left.exists()


def test_what_a_killed_process_was_replacing_gets_its_name_back(run: Run) -> None:
    """Where names cannot be exchanged, one that is replaced is without a name for a moment."""
    run.go(FakeEngine(), duration="updates = 3, save_every = 1", stopping=f'criterion = "{PPL}"')
    folder = run.folder / "run"
    names = ("best", "model", "checkpoints/update-000003")
    for name in names:
        place = folder / name
        place.rename(place.with_name(f".{place.name}.17.old"))
        place.with_name(f".{place.name}.17.tmp").mkdir()
    ended = run.go(
        FakeEngine(),
        duration="updates = 4, save_every = 1",
        stopping=f'criterion = "{PPL}"',
        resume=True,
    )
    assert (ended.update, run.of(Begun)[-1].update) == (4, 3)
    assert (folder / "best").is_dir()
    assert not [*folder.rglob(".*.17.*")]


def test_a_checkpoint_that_cannot_be_removed_does_not_end_a_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.go(FakeEngine(), duration="updates = 2, save_every = 1")
    saved = run.folder / "run" / "checkpoints"
    moved = tmp_path / "elsewhere"
    (saved / "update-000002").rename(moved)
    (saved / "update-000002").symlink_to(moved)
    run.go(FakeEngine(), duration="updates = 3, save_every = 1", resume=True)
    assert [entry.name for entry in saved.iterdir()] == ["update-000003"]
    assert (moved / STATE).exists()  # the link goes, and not what it leads to

    rename = os.rename

    def refuse(source: Any, target: Any) -> None:
        if Path(source).name == "update-000003":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.warns(XLMWarning, match="update-000003 cannot be removed: Operation not permitted"):
        ended = run.go(FakeEngine(), duration="updates = 4, save_every = 1", resume=True)
    assert ended.reason == "done"


def test_a_removal_that_is_cut_off_leaves_no_torn_checkpoint(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def cut_off(path: Any, **_: Any) -> None:
        removed.append(Path(path).name)

    monkeypatch.setattr(checkpoints.shutil, "rmtree", cut_off)
    run.go(FakeEngine(), duration="updates = 4, save_every = 2")
    saved = run.folder / "run" / "checkpoints"
    assert [entry.name for entry in sorted(saved.iterdir()) if entry.name[0] != "."] == [
        "update-000004"
    ]
    assert f".update-000002.{os.getpid()}.tmp" in removed


def test_all_checkpoints_are_kept(run: Run) -> None:
    run.go(FakeEngine(), keep=0)
    names = [path.name for path in RunFolder(run.folder / "run").all()]
    assert names == ["update-000003", "update-000006", "update-000008"]


def test_a_run_is_not_begun_over_another(run: Run) -> None:
    run.go(FakeEngine())
    with pytest.raises(CheckpointError, match=r"holds a run.*update-000008.*resume=True"):
        run.go(FakeEngine())
    with pytest.raises(CheckpointError, match=r"optimizer.warmup_updates is 20 and was 10"):
        run.go(FakeEngine(), optimizer="warmup_updates = 20", resume=True)
    engine = FakeEngine()
    run.go(engine, duration="updates = 9", resume=True)  # longer than it was
    assert engine.update == 9


def test_models_of_a_run_without_checkpoints_are_not_overwritten(run: Run) -> None:
    never, stopping = "updates = 4, evaluate_every = 2, save_every = 0", f"criterion = '{PPL}'"
    run.go(FakeEngine([2.0]), duration=never, stopping=stopping)
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"save_every = 0\), and its model"):
            run.go(FakeEngine([3.0]), duration=never, resume=resume)
    (run.folder / "run" / "model").rename(run.folder / "moved")
    with pytest.raises(CheckpointError, match=r"its best model .* resume=True"):
        run.go(FakeEngine([3.0]), duration=never, stopping=stopping)
    run.go(FakeEngine([3.0]), duration=never, stopping=stopping, resume=True)
    assert run.weights("best") != (run.folder / "moved" / "weights").read_text()


@pytest.mark.parametrize("wrong", [{"seconds": "x"}, {"interval": {"x": 1}}, {"stopping": None}])
def test_a_damaged_state_is_named(run: Run, wrong: dict[str, Any]) -> None:
    stopping = f"criterion = '{PPL}'"
    run.go(FakeEngine(), duration="updates = 4, save_every = 2", stopping=stopping)
    file = run.folder / "run" / "checkpoints" / "update-000004" / STATE
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "caller": {**state["caller"], **wrong}}))
    with pytest.raises(CheckpointError, match=r"is damaged: the state of its run"):
        run.go(FakeEngine(), resume=True, stopping=stopping)


def test_a_checkpoint_of_other_corpora_is_refused(run: Run) -> None:
    run.go(FakeEngine(), identity={"train en": 5})
    with pytest.raises(CheckpointError, match="train en was 5 and is 6"):
        run.go(FakeEngine(), identity={"train en": 6}, resume=True)


def test_the_text_of_a_pair_that_differs_is_named(run: Run) -> None:
    """Alone, and whole, however long; checkpoints of earlier versions have texts without names."""
    own, other = f"{'5 sentences' + ' ' * 90}, vocabulary 1", "6 sentences"
    for before in ({"en": own, "fr": own}, [own, own]):
        run.go(FakeEngine(), identity={"train": [own], "train en-fr": before})
        now = {"train": [own], "train en-fr": {"en": own, "fr": other}}
        message = re.escape(f"of another run: train en-fr (fr) was {own!r} and is {other!r}.")
        with pytest.raises(CheckpointError, match=f"{message}$"):
            run.go(FakeEngine(), identity=now, resume=True)
        now["train en-fr"] = {"en": own, "fr": own}
        assert run.go(FakeEngine(), identity=now, resume=True).reason == "done"
        with pytest.raises(CheckpointError, match=r"train was '5 sent.* and is '6 sent.*'\.$"):
            run.go(FakeEngine(), identity={**now, "train": [other]}, resume=True)
        run.folder = run.folder / "again"


def test_places_that_no_folder_can_have_are_named(run: Run) -> None:
    (run.folder / "file").write_text("")
    (run.folder / "link").symlink_to(run.folder / "nothing")
    config: Any = None
    for name, words in (("file/run", "file is a file: .*run cannot be in it"), ("link", "nothing")):
        with pytest.raises(CheckpointError, match=words):
            RunFolder(run.folder / name).check(config, resume=False)


def test_places_that_no_checkpoints_can_have_are_named(run: Run) -> None:
    run.go(FakeEngine(), duration="updates = 2, save_every = 0, evaluate_every = 0")
    folder = run.folder / "run"
    shutil.rmtree(folder / "model")
    (folder / "checkpoints").rmdir()
    (folder / "checkpoints").symlink_to(run.folder / "nothing")
    for words in ("checkpoints is a link to nothing: remove it", "checkpoints is a file: move it"):
        with pytest.raises(CheckpointError, match=words):
            run.go(FakeEngine(), resume=True)
        (folder / "checkpoints").unlink()
        (folder / "checkpoints").touch()


@pytest.mark.parametrize("place", ["", "run", "run/checkpoints"])
def test_folders_that_may_not_be_written_to_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """At once, and not at the first checkpoint."""
    closed = run.folder / place
    if place:
        run.go(FakeEngine(), duration="updates = 2, save_every = 2, evaluate_every = 0")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    with monkeypatch.context() as patch:  # root may write everywhere
        patch.setattr(os, "access", lambda path, mode: Path(path) != closed)
        with pytest.raises(CheckpointError, match=f"{closed} may not be written to: .*output"):
            run.go(FakeEngine(), resume=True)
    (run.folder / "config.toml").unlink()
    before.pop(run.folder / "config.toml", None)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_a_damaged_checkpoint_names_older_ones(run: Run) -> None:
    """Of a run that keeps several; one of another run is not told so."""
    run.go(FakeEngine(), keep=2, identity={"text": 1})
    folder = RunFolder(run.folder / "run")
    older, newest = folder.all()
    with pytest.raises(CheckpointError, match=r"text was 1 and is 2\.$"):
        run.go(FakeEngine(), identity={"text": 2}, resume=True)
    (newest / STATE).write_text("{}")
    words = r"There are older ones, update-000006: move update-000008 away, and resume=True \(--res"
    with pytest.raises(CheckpointError, match=words):
        run.go(FakeEngine(), identity={"text": 1}, resume=True)
    newest.rename(run.folder / "moved")
    run.go(FakeEngine(), identity={"text": 1}, resume=True)
    assert run.of(Begun)[-1].resumed == older


def test_another_s_configuration_is_left_alone(run: Run) -> None:
    folder = run.folder / "run"
    folder.mkdir()
    content = {"config.toml": 'baseURL = "https://example.org"\n', "figures.csv": "mine", "a": ""}
    for name, text in content.items():
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=r"is not the folder of a run: .*baseURL is unknown"):
        run.go(FakeEngine())
    assert {path.name: path.read_text() for path in folder.iterdir()} == content


def test_checkpoints_behind_the_one_that_a_run_goes_on_from(run: Run) -> None:
    """Their numbers are larger than those of new ones, which stay."""
    run.go(FakeEngine(), duration="updates = 9, save_every = 3", keep=0)
    engine = FakeEngine()
    folder = RunFolder(run.folder / "run")
    engine.resume(folder.all()[0])
    assert [folder.update_of(folder.save(engine, {})) for _ in engine.updates(5)] == [4, 5]
    assert [path.name for path in folder.all()] == [
        "update-000005",
        "update-000006",
        "update-000009",
    ]


def test_a_folder_of_something_else_is_left_alone(run: Run) -> None:
    (run.folder / "run").mkdir()
    (run.folder / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not the folder of a run"):
        run.go(FakeEngine(), resume=True)


@pytest.mark.parametrize(
    ("loss", "updates", "warned"),
    [(4.0, 80, 1), (2.9, 80, 0), (3.0, 80, 1), (4.0, 20, 1), (4.0, 19, 0)],
)
def test_losses_that_do_not_fall_are_named_once(
    run: Run, loss: float, updates: int, warned: int
) -> None:
    """After 50 updates behind the warm-up, or at the end of a shorter run."""
    run.go(
        FakeEngine([loss]),
        duration=f"updates = {updates}, evaluate_every = 0",
        optimizer="warmup_updates = 10, learning_rate = 0.5",
        entropies={"MLM-en": 3.0},
        evaluations=False,
    )
    assert run.of(Begun)[0].entropies == {"MLM-en": 3.0}
    found = run.of(Warned)
    assert len(found) == warned
    for event in found:
        for words in ("learning rate 0.5", "warmup_updates", "10 tokens an update", "MLM-en"):
            assert words in event.text


def test_that_losses_do_not_fall_is_said_once_in_a_whole_run(run: Run) -> None:
    options: dict[str, Any] = {"optimizer": "warmup_updates = 5", "entropies": {"MLM-en": 3.0}}
    for updates, resume in ((20, False), (20, True), (80, True), (80, True)):
        engine = FakeEngine([4.0])
        run.go(engine, duration=f"updates = {updates}, save_every = 9", resume=resume, **options)
    assert len(run.of(Warned)) == 1


@pytest.mark.parametrize("before", [50_000, 3_990])
def test_a_warm_up_that_another_run_made_is_not_waited_for(run: Run, before: int) -> None:
    engine = FakeEngine([4.0])
    engine.updates_before = before
    run.go(
        engine,
        duration="updates = 1200, evaluate_every = 0",
        optimizer="warmup_updates = 4000",
        entropies={"MLM-en": 3.0},
        evaluations=False,
    )
    [event] = run.of(Warned)
    assert ("warmup_updates" in event.text) == (before < 4000)
