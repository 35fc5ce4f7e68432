"""`xlm generate`: each line is continued as it is alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.cli import main
from tests.support.cases import random_weights
from tests.support.small_tokenizer import write_folder
from xlm_core import XLMConfig, XLMTokenizer
from xlm_core.checkpoints import save_checkpoint
from xlm_core.weights import name_of, tensors_of
from xlm_torch import XLMWithLMHeadModel

Write = Callable[..., Path]
LINES = ["abc de", "a b c d e f g h", "", "fg fg"]
NEW = ("--max-new-tokens", "5")


@pytest.fixture
def says(folder: Path) -> Iterator[Callable[..., None]]:
    """Writes what the model's folder says of generation, for one test."""
    file = folder / "generation_config.json"

    def write(**settings: Any) -> None:
        file.write_text(json.dumps(settings))

    yield write
    file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model with an output matrix of its own, and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    config = XLMConfig(
        vocab_size=34,
        emb_dim=12,
        n_layers=2,
        n_heads=3,
        n_langs=2,
        lang2id={"en": 0, "fr": 1},
        max_position_embeddings=24,
        causal=True,
        tie_word_embeddings=False,
        architectures=["XLMWithLMHeadModel"],
    )
    weights = random_weights(config, "XLMWithLMHeadModel", np.random.default_rng(3))
    specs = {spec.path: spec for spec in tensors_of(config, "XLMWithLMHeadModel")}
    tensors = {
        str(name_of(specs[path], "torch", "XLMWithLMHeadModel")): array.astype(np.float32)
        for path, array in weights.items()
    }
    save_checkpoint(folder, config, tensors)
    return write_folder(folder)


def generate(*arguments: Any, code: int = 0) -> None:
    assert main(["generate", *map(str, arguments)]) == code


def alone(folder: Path, line: str, **settings: Any) -> list[str]:
    """What the model writes for one line."""
    tokenizer = XLMTokenizer.from_pretrained(folder)
    model = XLMWithLMHeadModel.from_pretrained(folder).eval()
    prompt = tokenizer(line, lang="fr", framing="prompt")["input_ids"]
    settings = {"max_new_tokens": 5, **settings}
    rows = model.generate(torch.tensor([prompt]), tgt_lang="fr", **settings).tolist()
    hidden = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    texts = []
    for row in rows:
        tokens = tokenizer.convert_ids_to_tokens([i for i in row if i not in hidden])
        words = "".join(each if "</w>" in each else f"{each}" for each in tokens)
        texts.append(words.replace("<unk>", "</w><unk></w>").replace("</w>", " "))
    return [" ".join(text.split()) for text in texts]


class TestAsAlone:
    def test_lines(self, folder: Path, write: Write, capsys: Any) -> None:
        for more in ((), ("--num-beams", "3")):
            generate(folder, write(LINES), "--lang", "fr", "--no-detokenize", *NEW, *more)
            beams = {"num_beams": 3} if more else {}
            expected = [alone(folder, line, **beams)[0] for line in LINES]
            assert capsys.readouterr().out.split("\n")[:-1] == expected

    def test_json(self, folder: Path, write: Write, capsys: Any) -> None:
        more = ("--json", "--nbest", "2", "--no-detokenize")
        generate(folder, write(LINES), "--lang", "1", *NEW, *more)
        captured = capsys.readouterr()
        for line, text in zip(map(json.loads, captured.out.splitlines()), LINES, strict=True):
            assert line["source"] == text
            expected = alone(folder, text, num_beams=2, num_return_sequences=2)
            assert [each["text"] for each in line["texts"]] == expected
            for each in line["texts"]:
                assert each["text"].endswith(each["continuation"])
                assert each["tokens"] <= 5
        assert "tokens generated" in captured.err

    def test_a_long_prompt_loses_its_beginning(
        self, folder: Path, write: Write, capsys: Any
    ) -> None:
        long = " ".join("abc" for _ in range(40))
        generate(folder, write([f"{long} de"]), "--lang", "fr", "--json", *NEW)
        found = json.loads(capsys.readouterr().out)
        assert (found["tokens"], found["cut"]) == (18, 23)
        assert found["texts"][0]["text"].startswith("abc " * 17 + "de")

    def test_samples(self, folder: Path, write: Write, capsys: Any) -> None:
        texts = []
        for seed in ("1", "1", "2"):
            more = ("--do-sample", "--seed", seed, "--nbest", "3", "--batch-size", "2")
            generate(folder, write(LINES), "--lang", "fr", *NEW, *more)
            texts.append(capsys.readouterr().out)
        assert texts[0] == texts[1] != texts[2]
        lines = texts[0].splitlines()
        assert len({*lines}) == len(lines) == 12

    @pytest.mark.filterwarnings("always:generate was called on a masked language model")
    def test_a_masked_model_warns(
        self, folder: Path, write: Write, tmp_path: Path, capsys: Any
    ) -> None:
        """Neighbours change nothing: only lines of equal length are computed together."""
        masked = tmp_path / "masked"
        masked.mkdir()
        for file in folder.iterdir():
            (masked / file.name).write_bytes(file.read_bytes())
        config = json.loads((masked / "config.json").read_text())
        (masked / "config.json").write_text(json.dumps({**config, "causal": False}))
        source = write(LINES)
        outs = [tmp_path / name for name in ("together", "one", "causal")]
        base = (masked, source, "--lang", "fr", *NEW, "--quiet", "-o")
        generate(*base, outs[0])
        assert capsys.readouterr().err.startswith("warning: generate was called on a masked")
        generate(*base, outs[1], "--batch-size", "1")
        generate(*base, outs[2], "--causal")
        assert outs[0].read_text() == outs[1].read_text()
        generate(folder, source, "--lang", "fr", *NEW, "--quiet", "-o", tmp_path / "own")
        assert outs[2].read_text() == (tmp_path / "own").read_text()


def test_the_page_describes_what_json_writes(
    folder: Path, one_case: Any, write: Write, capsys: Any
) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "translation.md"
    rows = re.findall(r"^\| (`.*?`) \|", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    source = write(["abc"])
    generate(folder, source, "--lang", "fr", "--json", *NEW)
    more = ("--src-lang", "en", "--tgt-lang", "fr", "--input-is-bpe", "--json")
    assert main(["translate", str(one_case.model), str(source), *more]) == 0
    written = set()
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        written |= {key for key in line if key != "texts"}
        written |= {f"texts[].{key}" for text in line["texts"] for key in text}
    assert described == written


class TestWhatTheFolderSays:
    """The generation_config.json beside a model counts where no option says otherwise."""

    def test_several_sequences(
        self, folder: Path, write: Write, capsys: Any, says: Callable[..., None]
    ) -> None:
        says(num_beams=3, num_return_sequences=2, max_new_tokens=5)
        generate(folder, write(LINES), "--lang", "fr", "--no-detokenize")
        expected = [alone(folder, line)[0] for line in LINES]
        assert capsys.readouterr().out.split("\n")[:-1] == expected

    def test_lengths(
        self, folder: Path, write: Write, capsys: Any, says: Callable[..., None]
    ) -> None:
        lines = ["a b c d e f g h " * 2, "a b"]
        for said, option in (
            ({"max_new_tokens": 12}, ("--max-new-tokens", "12")),
            ({"max_length": 14}, ("--max-length", "14")),
        ):
            generate(folder, write(lines), "--lang", "fr", *option)
            expected = capsys.readouterr().out
            says(**said)
            generate(folder, write(lines), "--lang", "fr")
            captured = capsys.readouterr()
            assert captured.out == expected
            assert "1 lines cut" in captured.err
            says()

    def test_samples(
        self, folder: Path, write: Write, capsys: Any, says: Callable[..., None]
    ) -> None:
        options = ("--lang", "fr", "--batch-size", "1", *NEW)
        generate(folder, write(["abc"] * 4), *options, "--do-sample", "--seed", "3")
        expected = capsys.readouterr().out
        assert len(set(expected.splitlines())) > 1
        says(do_sample=True, seed=3)
        generate(folder, write(["abc"] * 4), *options)
        assert capsys.readouterr().out == expected


class TestRefused:
    def test_a_translation_model(self, one_case: Any, write: Write, capsys: Any) -> None:
        generate(one_case.model, write(["a"]), "--lang", "en", code=2)
        assert "use `xlm translate`" in capsys.readouterr().err

    def test_no_language(self, folder: Path, write: Write, capsys: Any) -> None:
        generate(folder, write(["a"]), code=2)
        assert "tgt_lang was not given" in capsys.readouterr().err

    def test_beams_and_samples(self, folder: Path, write: Write, capsys: Any) -> None:
        more = ("--do-sample", "--num-beams", "2")
        generate(folder, write(["a"]), "--lang", "fr", *more, code=2)
        assert "Give one of them" in capsys.readouterr().err
