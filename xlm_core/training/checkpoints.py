"""The folder of a run: its checkpoints, its models, and the file that says what it does.

RUN/config.toml                   what the run does
RUN/checkpoints/update-000100/    from which it goes on
RUN/best/                         the best model by the criterion of stopping
RUN/model/                        the last one
RUN/.lock                         held by the process that trains
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from xlm_core.errors import CheckpointError, ConfigError, OtherRunError, XLMError, warn
from xlm_core.training.config import TrainingConfig
from xlm_core.training.engine import Engine
from xlm_core.training.locking import check_unlocked, is_own, locked
from xlm_core.training.main_rank import write_on_main
from xlm_core.whole_files import folder_written_whole, put_back, written_whole

CONFIG, LOCK = "config.toml", ".lock"
# Models in it: the last one, and the best by the criterion of stopping.
MODEL, BEST = "model", "best"
# What may change when a run goes on: where it is, how long it takes, what it says meanwhile.
MAY_CHANGE = ("output", "readers", "duration", "stopping")
_NAME = re.compile(r"update-(\d{6,})")
_REPLACED = re.compile(r"\.(update-\d{6,}|best|model)\.\d+\.old")
_UNFINISHED = re.compile(r"\.(?:update-\d{6,}|best|model|translating)\.\d+\.(?:tmp|old)")


class RunFolder:
    """The folder of a run.

    Args:
        path: Made if need be.
        keep: Checkpoints that are kept, the latest; 0: all.
        add_to_model: Writes what belongs beside a model, such as its tokenizer, into its folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep: int = 1,
        add_to_model: Callable[[Path], None] | None = None,
    ) -> None:
        self.path, self.keep = Path(path), keep
        self.checkpoints = self.path / "checkpoints"
        self._add_to_model = add_to_model
        self._begun = self._is_own = False

    # -- checkpoints -----------------------------------------------------------------------------

    def all(self) -> list[Path]:
        """All checkpoints, the oldest first. Each is whole: it gets its name when it is."""
        if not self.checkpoints.is_dir():
            return []
        found = [
            (int(match[1]), entry)
            for entry in self.checkpoints.iterdir()
            if (match := _NAME.fullmatch(entry.name)) and entry.is_dir()
        ]
        return [entry for _, entry in sorted(found)]

    def newest(self) -> Path | None:
        """The checkpoint to go on from; None: there is none."""
        return next(reversed(self.all()), None)

    def update_of(self, checkpoint: Path) -> int:
        """How many updates had been made at a checkpoint."""
        match = _NAME.fullmatch(checkpoint.name)
        return int(match[1]) if match else 0

    def save(self, engine: Engine, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove those that are older than what is kept.

        Every rank calls it.
        """
        target = self.checkpoints / f"update-{engine.update:06}"
        write_on_main(engine, self._check_place)
        with _full_disks_are_os_errors(engine):
            engine.save(target, state, add_to_model=self._add_to_model)
        if engine.is_main and self.keep:
            # Those behind it are of a run that went on from an earlier one.
            older = [each for each in self.all() if self.update_of(each) <= engine.update]
            for old in older[: -self.keep]:
                _discard(old)
        return target

    def save_model(self, engine: Engine, name: str) -> Path:
        """Write the model alone to "best", "model" or "translating": whole, or not at all.

        Every rank calls it.
        """
        target = self.path / name
        with _full_disks_are_os_errors(engine), ExitStack() as unfinished:
            found = [target]

            def begin() -> None:
                self._check_place()
                whole = folder_written_whole(target, flushed=name in (BEST, MODEL))
                found[0] = unfinished.enter_context(whole)

            def finish() -> None:
                if self._add_to_model is not None:
                    self._add_to_model(found[0])
                unfinished.close()  # the folder gets its name

            write_on_main(engine, begin)
            engine.save_model(found[0])
            write_on_main(engine, finish)
        return target

    @contextmanager
    def naming_older(self, checkpoint: Path | None) -> Iterator[None]:
        """Say with an error of a checkpoint within the block that there are older ones, if any."""
        try:
            yield
        except OtherRunError:
            raise
        except CheckpointError as error:
            if checkpoint is None:
                raise
            at = self.update_of(checkpoint)
            names = [older.name for older in self.all() if self.update_of(older) < at]
            if not names:
                raise
            raise CheckpointError(
                f"{error} There are older ones, {', '.join(names[-3:])}: move {checkpoint.name} "
                "away, and resume=True (--resume) goes on from the last of them."
            ) from error

    def check_writable(self) -> None:
        """Raise `CheckpointError` if the folder of the run, or that of checkpoints, is closed."""
        for place in (self.path, self.checkpoints):
            found = next(x for x in (place, *place.parents) if x.exists())
            if not os.access(found, os.W_OK | os.X_OK):
                raise CheckpointError(
                    f"{found} may not be written to: change that, or give another name (output)."
                )

    def _check_place(self) -> None:
        """Raise `CheckpointError` if what is at the path is no longer the folder that was begun."""
        if not self._begun:
            return
        is_another = self._is_own and not is_own(self.path / LOCK)
        if is_another or not (self.path / CONFIG).exists():
            raise CheckpointError(
                f"{self.path} was moved or removed while the run went on, and nothing was written "
                "in its place. If it was moved, move it back."
            )

    # -- one run at a time -----------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in this folder; for one rank alone.

        It ends with the block, or with the process, however that ends.

        Raises:
            CheckpointError: If another process trains here, or nothing may be written here.
        """
        self.check_writable()
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / LOCK, str(self.path)):
            yield

    def check_free(self) -> None:
        """Raise `CheckpointError` if a process trains here; any rank may ask."""
        check_unlocked(self.path / LOCK, str(self.path))

    def put_back(self) -> None:
        """Give back their names to folders that a killed process was replacing; any rank may."""
        for folder in filter(Path.is_dir, (self.path, self.checkpoints)):
            for entry in [*folder.iterdir()]:
                if match := _REPLACED.fullmatch(entry.name):
                    put_back(folder / match[1])

    # -- the whole -------------------------------------------------------------------------------

    def begin(
        self,
        config_file: Path,
        config: TrainingConfig,
        *,
        resume: bool,
        content: bytes | None = None,
    ) -> Path | None:
        """Make the folder, or find where the run in it stopped; for one rank alone.

        Args:
            config_file: Copied into the folder.
            config: What it says.
            resume: Whether to go on, if the folder holds a run.
            content: What `config` was read from; None: what the file holds now.

        Returns:
            The checkpoint to go on from.

        Raises:
            CheckpointError: If the folder holds a run and `resume` is False, something else, or a
                run of another configuration.
        """
        self.put_back()
        newest = self.check(config, resume=resume)
        self.check_writable()
        self.path.mkdir(parents=True, exist_ok=True)
        for folder in filter(Path.is_dir, (self.path, self.checkpoints)):
            for entry in folder.iterdir():
                if _UNFINISHED.fullmatch(entry.name) and entry.is_dir():
                    shutil.rmtree(entry, ignore_errors=True)  # of a process that was killed
        kept = self.path / CONFIG
        if not (kept.exists() and kept.samefile(config_file)):
            with written_whole(kept) as temporary:
                temporary.write_bytes(config_file.read_bytes() if content is None else content)
        # Behind the file: without it, a folder that is not empty is none of a run.
        self.checkpoints.mkdir(exist_ok=True)
        self._begun, self._is_own = True, is_own(self.path / LOCK)
        return newest

    def check(self, config: TrainingConfig, *, resume: bool) -> Path | None:
        """Return and raise as `begin`, and write nothing."""
        kept, newest = self.path / CONFIG, self.newest()
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"{self.path} is a file: give the name of a folder (output).")
        if self.path.is_symlink() and not self.path.exists():
            raise CheckpointError(f"{self.path} is a link to nothing: give another name (output).")
        for parent in self.path.parents:
            if parent.is_file():
                raise CheckpointError(f"{parent} is a file: {self.path} cannot be in it (output).")
        if self.checkpoints.is_file():
            raise CheckpointError(f"{self.checkpoints} is a file: move it away.")
        if self.checkpoints.is_symlink() and not self.checkpoints.exists():
            raise CheckpointError(
                f"{self.checkpoints} is a link to nothing: remove it, or make what it leads to."
            )
        others = self.path.is_dir() and any(x.name != LOCK for x in self.path.iterdir())
        if others and not kept.exists():
            raise CheckpointError(
                f"{self.path} exists and is not the folder of a run (it has no {CONFIG}): give "
                "another name (output)."
            )
        if newest is None:
            if others:
                try:
                    TrainingConfig.from_toml(kept)
                except ConfigError as error:
                    raise CheckpointError(
                        f"{self.path} exists and is not the folder of a run: {error} Give another "
                        "name (output)."
                    ) from error
            self._check_models(resume=resume)
            return None
        if not resume:
            raise CheckpointError(
                f"{self.path} holds a run, with the checkpoint {newest.name}: go on with it by "
                "resume=True (--resume), or give another name (output)."
            )
        try:
            check_same(config, TrainingConfig.from_toml(kept))
        except ConfigError as error:
            raise CheckpointError(f"{self.path} holds another run: {error}") from error
        return newest

    def _check_models(self, *, resume: bool) -> None:
        """Raise `CheckpointError` if a run that begins here would replace what another learned."""
        if (self.path / MODEL).is_dir():
            raise CheckpointError(
                f"{self.path} holds a run that ended without a checkpoint (duration.save_every = "
                f"0), and its {MODEL} would be overwritten: give another name (output), or move it."
            )
        if (self.path / BEST).is_dir() and not resume:
            raise CheckpointError(
                f"{self.path} holds a run without a checkpoint, and its {BEST} model would be "
                "overwritten: begin anew by resume=True (--resume), or give another name "
                "(output)."
            )


def _discard(old: Path) -> None:
    """Take its name from a checkpoint, then remove it; what cannot be is left for `begin`."""
    if old.is_symlink():
        old.unlink()
        return
    unnamed = old.with_name(f".{old.name}.{os.getpid()}.tmp")
    try:
        os.rename(old, unnamed)
    except OSError as error:
        warn(f"{old} cannot be removed: {error.strerror or error}.")
        return
    shutil.rmtree(unnamed, ignore_errors=True)


@contextmanager
def _full_disks_are_os_errors(engine: Engine) -> Iterator[None]:
    """PyTorch reports a full disk as a RuntimeError of its own words."""
    try:
        yield
    except XLMError:
        raise
    except RuntimeError as error:
        if engine.lost_process(error) is not None:
            raise
        raise OSError(f"a file could not be written ({str(error).splitlines()[0]}).") from error


def check_same(config: TrainingConfig, kept: TrainingConfig) -> None:
    """Raise `ConfigError` unless a run may go on with another configuration than it began with.

    Args:
        config: The new one.
        kept: That it began with.
    """
    found, before = _flat(config), _flat(kept)
    differing = [
        f"{name} is {_shown(found.get(name))} and was {_shown(before.get(name))}"
        for name in sorted(found.keys() | before.keys())
        if name.partition(".")[0] not in MAY_CHANGE and found.get(name) != before.get(name)
    ]
    if differing:
        raise ConfigError(
            f"{'; '.join(differing)}. Only {', '.join(MAY_CHANGE)} may change: give the file that "
            "it began with, or another output."
        )


def _shown(value: Any) -> str:
    """A value with its end: long paths differ there."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:90]} ... {text[-90:]}"


def _flat(values: Any, where: str = "") -> dict[str, Any]:
    """All values of a configuration by their full names."""
    if is_dataclass(values):
        values = {each.name: getattr(values, each.name) for each in fields(values)}
    if not isinstance(values, dict):
        return {where: values}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{where}.{name}" if where else name)
    return flat
