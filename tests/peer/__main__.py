"""transformers' common tests for XLM: how many theirs pass, how many ours, and which differ.

    python -m tests.peer [--suites 'PyTorch*'] [--only ours] [--quick] [-k WORDS] [--verbose]

Theirs run in the same call, as the control. Fails if a test that theirs pass and ours do not is not
in the suite's list of deliberate differences, or if one of that list passes.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.peer import sources
from tests.peer.subject import VARIABLE
from tests.peer.suites import SUITES, Suite

_HERE = Path(__file__).parent
_PASSED, _SKIPPED, _FAILED = "passed", "skipped", "failed"


def outcomes(
    suite: Suite, subject: str, *, words: str | None, quick: bool, verbose: bool
) -> dict[str, str]:
    """Each test's name with its outcome, from a run of pytest in a process of its own."""
    environment = os.environ | {
        VARIABLE: subject,
        "XLM_PEER_TESTS": str(sources.common_tests(suite.version)),
        "XLM_PEER_PACKAGES": str(sources.packages()),
        "RUN_SLOW": "0" if quick else "1",
        "TF_USE_LEGACY_KERAS": "1" if subject == "theirs" else "0",
    }
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-p", "tests.peer.plugin"]
        command += ["-c", str(_HERE / "pytest.ini"), "--junitxml", str(results)]
        command += ["-k", words] if words else []
        command += [] if verbose else ["-q", "--tb=no", "--no-header", "--no-summary"]
        done = subprocess.run(
            [*command, str(_HERE / suite.file)],
            env=environment,
            cwd=_HERE.parent.parent,
            stdout=None if verbose else subprocess.PIPE,
            stderr=None if verbose else subprocess.STDOUT,
            text=True,
        )
        if not results.exists():
            sys.exit(f"{suite.file} ({subject}) did not run:\n{done.stdout or ''}")
        return _read(results)


def _read(results: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            found[name] = _FAILED
        elif "skipped" in kinds:
            found[name] = _SKIPPED
        else:
            found[name] = _PASSED
    return found


def _count(found: dict[str, str], outcome: str) -> int:
    return sum(each == outcome for each in found.values())


def _compare(suite: Suite, subject: str, theirs: dict[str, str], ours: dict[str, str]) -> list[str]:
    """Prints what differs on purpose, and returns what nobody expects."""
    deliberate = suite.deliberate.get(subject, {})
    unexpected = []
    for name, outcome in theirs.items():
        if outcome != _PASSED:
            continue
        got = ours.get(name, "not collected")
        reason = deliberate.get(name.rpartition(".")[2])
        if got == _PASSED and reason:
            unexpected.append(f"{name} is listed as deliberate, and passes")
        elif got != _PASSED and reason:
            print(f"    {got} on purpose: {name}: {reason}")
        elif got != _PASSED:
            unexpected.append(f"{name} {got}")
    return unexpected


def _not_listed(suite: Suite, subject: str, ours: dict[str, str]) -> list[str]:
    """Without the control: what fails and is in none of the suite's lists."""
    known = {*suite.deliberate.get(subject, {}), *suite.not_theirs}
    return [
        f"{suite.title}, {subject}: {name} failed"
        for name, outcome in ours.items()
        if outcome == _FAILED and name.rpartition(".")[2] not in known
    ]


def main(arguments: list[str] | None = None) -> int:
    """Runs the suites; 1 if something unexpected is found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.peer",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--suites", default="*", help="a pattern of titles")
    parser.add_argument("--only", help="one subject, without the control: theirs, ours or kind")
    parser.add_argument("--quick", action="store_true", help="without those that are marked slow")
    parser.add_argument("-k", dest="words", help="pytest's choice of tests by words")
    parser.add_argument("--verbose", action="store_true", help="show pytest's own output")
    options = parser.parse_args(arguments)

    bad = []
    for suite in SUITES:
        if not fnmatch.fnmatch(suite.title, options.suites):
            continue
        subjects = [options.only] if options.only else ["theirs", *suite.subjects]
        print(f"{suite.title}: the common tests of transformers {suite.version}", flush=True)
        found: dict[str, dict[str, str]] = {}
        for subject in subjects:
            found[subject] = outcomes(
                suite,
                subject,
                words=options.words,
                quick=options.quick,
                verbose=options.verbose,
            )
            counts = (
                f"{_count(found[subject], kind)} {kind}" for kind in (_PASSED, _SKIPPED, _FAILED)
            )
            print(f"  {subject}: {', '.join(counts)}", flush=True)
            if options.only:
                bad += _not_listed(suite, subject, found[subject])
        for subject in suite.subjects if not options.only else ():
            bad += [
                f"{suite.title}, {subject}: {each}"
                for each in _compare(suite, subject, found["theirs"], found[subject])
            ]
    for each in bad:
        print(f"  {each}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
