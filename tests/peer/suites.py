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
        not_theirs: tests that theirs do not pass either, and so say nothing of ours.
    """

    title: str
    file: str
    version: str
    subjects: tuple[str, ...] = ("ours",)
    deliberate: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    not_theirs: frozenset[str] = frozenset()


_CONFIGURATION = {
    "test_config[create_and_test_config_common_properties]": "sizes of 0 are refused",
    "test_config[check_config_arguments_init]": "numbers of labels are integers, not texts",
}

_TOKENIZER = {
    "test_maximum_encoding_length_single_input": "warns by `warnings`, not transformers' logger",
    "test_maximum_encoding_length_pair_input": "warns by `warnings`, and with another text",
    "test_separate_tokenizers": "an unknown argument is refused by name",
    "test_prepare_seq2seq_batch": "deprecated there and gone from transformers 5: text_target",
}

# It has transformers' own `prepare_seq2seq_batch`.
_TOKENIZER_KIND = {
    name: reason for name, reason in _TOKENIZER.items() if name != "test_prepare_seq2seq_batch"
}

_TORCH = {
    "test_config": "a width that the attention heads do not divide is refused",
    "test_model_get_set_embeddings": "embeddings of another width are refused",
    "test_resize_tokens_embeddings": "new rows are drawn from the initial distribution",
    "test_resize_embeddings_untied": "as above",
    "test_cannot_load_with_meta_device_context_manager": "gives the model, on the CPU",
    "test_save_load": "generation_config.json is written if it says anything",
}

_KIND = {
    "test_config": _TORCH["test_config"],
}

_TENSORFLOW = {
    "test_config": "a width that the attention heads do not divide is refused",
    "test_compile_tf_model": "saves to a folder, where Keras 3 wants a name that ends in .keras",
    "test_load_with_mismatched_shapes": "opens the file with transformers' own auto classes",
    "test_resize_token_embeddings": "asks a private method of transformers for the matrix",
    "test_save_load": _TORCH["test_save_load"],
}

# A suite is entered when its file is there.
SUITES: tuple[Suite, ...] = (
    Suite(
        title="configuration",
        file="configuration.py",
        version="4.57.6",
        deliberate={"ours": _CONFIGURATION},
    ),
    Suite(
        title="PyTorch models",
        file="torch_models.py",
        version="4.57.6",
        subjects=("ours", "kind"),
        # Theirs skip its end, and ours its middle: the names are in a warning, not in a log.
        not_theirs=frozenset({"test_can_load_ignoring_mismatched_shapes"}),
        deliberate={"ours": _TORCH, "kind": _KIND},
    ),
    Suite(
        title="TensorFlow models",
        file="tf_models.py",
        version="4.52.4",
        deliberate={"ours": _TENSORFLOW},
    ),
    Suite(
        title="tokenizer",
        file="tokenizer.py",
        version="4.57.6",
        subjects=("ours", "kind"),
        deliberate={"ours": _TOKENIZER, "kind": _TOKENIZER_KIND},
    ),
)
