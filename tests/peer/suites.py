"""The suites: a file with a tester, the version whose tests it runs, and what differs on purpose.

A suite's file is named for what it tests and not `test_*`, so that only `python -m tests.peer`
collects it. It imports the common tests as `peer_tests` and asks `subject()` for whom to test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Suite:
    """One file of testers.

    Attributes:
        title: as it is printed.
        file: its name in tests/peer.
        version: whose common tests these are.
        subjects: whom it tests beside `theirs`.
        deliberate: for each subject, tests that theirs pass and ours do not, with the reason.
    """

    title: str
    file: str
    version: str
    subjects: tuple[str, ...] = ("ours",)
    deliberate: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


_TOKENIZER = {
    "test_maximum_encoding_length_single_input": "warns by `warnings`, not transformers' logger",
    "test_maximum_encoding_length_pair_input": "warns by `warnings`, and with another text",
    "test_separate_tokenizers": "an unknown argument is refused by name",
    "test_tokenizer_initialization_with_conflicting_key": (
        "an argument named as a method is refused as the others, by a TypeError"
    ),
    "test_prepare_seq2seq_batch": "deprecated there and gone from transformers 5: text_target",
}

# A suite is entered when its file is there.
SUITES: tuple[Suite, ...] = (
    Suite(title="configuration", file="configuration.py", version="4.57.6"),
    Suite(title="PyTorch models", file="torch_models.py", version="4.57.6"),
    Suite(title="TensorFlow models", file="tf_models.py", version="4.52.4"),
    Suite(
        title="tokenizer",
        file="tokenizer.py",
        version="4.57.6",
        deliberate={"ours": _TOKENIZER},
    ),
)
