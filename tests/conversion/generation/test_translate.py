"""`xlm translate`: the original's translations from its own files, and everything around them."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conversion.cli import main
from conversion.generation import models
from tests.conversion.generation.conftest import Translations
from tests.conversion.small_checkpoints import write_checkpoint
from tests.support.small_tokenizer import write_folder
from xlm_core import XLMTokenizer
from xlm_core.checkpoints.original import Original

Write = Callable[..., Path]
LANGUAGES = ("--src-lang", "en", "--tgt-lang", "fr")
BPE = (*LANGUAGES, "--input-is-bpe")
# As the golden cases name them: beams, power of the length, early stopping.
SETTINGS = {
    "greedy": (),
    "beam3_lp1.0_es0": ("--num-beams", "3"),
    "beam5_lp0.6_es1": ("--num-beams", "5", "--length-penalty", "0.6", "--early-stopping"),
    "beam4_lp1.4_es0": ("--num-beams", "4", "--length-penalty", "1.4"),
}


def translate(*arguments: Any, code: int = 0) -> None:
    assert main(["translate", *map(str, arguments)]) == code


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.split("\n")[:-1]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line.removeprefix("xlm translate: ")


class TestAsTheOriginal:
    @pytest.mark.parametrize("name", SETTINGS)
    def test_settings(self, case: Translations, write: Write, capsys: Any, name: str) -> None:
        length = ("--max-length", case.expected["max_len"])
        translate(case.model, write(case.sources), *BPE, *SETTINGS[name], *length)
        assert lines_of(capsys) == case.texts(name)

    def test_marked_as_fastbpe_does(
        self, one_case: Translations, write: Write, capsys: Any
    ) -> None:
        lines = [re.sub(r"(\w{4})(?!</w>)( |$)", r"\1@@\2", line) for line in one_case.sources]
        source = write([line.replace("</w>", "") for line in lines])
        assert "@@" in source.read_text()
        translate(one_case.model, source, *BPE, "--max-length", one_case.expected["max_len"])
        assert lines_of(capsys) == one_case.texts("greedy")

    def test_in_tensorflow(self, one_case: Translations, write: Write, capsys: Any) -> None:
        source = write(one_case.sources[:2])
        for name in ("greedy", "beam3_lp1.0_es0"):
            more = ("--max-length", one_case.expected["max_len"], "--framework", "tf")
            translate(one_case.model, source, *BPE, *SETTINGS[name], *more)
            assert lines_of(capsys) == one_case.texts(name)[:2]

    def test_batches_change_nothing(
        self, one_case: Translations, write: Write, capsys: Any
    ) -> None:
        source = write(one_case.sources * 3)
        for batches in (("--batch-size", 1), ("--batch-tokens", 20), ("--window-lines", 4)):
            translate(one_case.model, *BPE, *batches, source, "--dtype", "float64")
            assert lines_of(capsys)[5:] == one_case.texts("greedy") * 2


class TestOutput:
    def test_nbest(self, one_case: Translations, write: Write, capsys: Any) -> None:
        source = write([one_case.sources[0], "", one_case.sources[1]])
        translate(one_case.model, source, *BPE, "--nbest", 3)
        lines = [line.split(" ||| ") for line in lines_of(capsys)]
        assert [line[0] for line in lines] == ["0", "0", "0", "1", "2", "2", "2"]
        assert lines[0][1] == one_case.texts("beam3_lp1.0_es0")[0]
        assert float(lines[0][2]) > float(lines[1][2]) > float(lines[2][2])
        assert lines[3][1:] == [""]

    def test_json(self, one_case: Translations, write: Write, capsys: Any) -> None:
        source = write([one_case.sources[0], " ", "what is this"])
        translate(one_case.model, source, *BPE, "--json", "--nbest", 2, "--max-new-tokens", 4)
        captured = capsys.readouterr()
        first, second, third = map(json.loads, captured.out.splitlines())
        assert first["source"] == one_case.sources[0]
        assert (first["line"], first["tokens"], first["unknown"], first["cut"]) == (1, 7, 0, 0)
        assert [each["at_limit"] for each in first["texts"]] == [True, True]
        assert first["texts"][0]["score"] > first["texts"][1]["score"]
        assert first["texts"][0]["text"] == "ceba bafomuba"
        assert second["texts"] == [{"text": "", "unknown": 0, "at_limit": False, "score": None}]
        assert third["unknown"] == 3
        assert re.match(
            r"3 lines, 3 unknown subwords, \d translations at the length limit; ", captured.err
        )

    def test_what_is_too_long_is_cut_and_said(
        self, one_case: Translations, write: Write, capsys: Any
    ) -> None:
        long = " ".join(one_case.sources[:1] * 80)
        translate(one_case.model, write([long]), *BPE, "--json", "--max-length", 5)
        captured = capsys.readouterr()
        found = json.loads(captured.out)
        assert (found["tokens"], found["cut"]) == (510, 50)
        assert "1 lines cut" in captured.err

    def test_standard_input(
        self, one_case: Translations, monkeypatch: pytest.MonkeyPatch, capsys: Any
    ) -> None:
        text = f"{one_case.sources[1]}\n\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        translate(one_case.model, *BPE, "--quiet")
        captured = capsys.readouterr()
        assert captured.out == f"{one_case.texts('greedy')[1]}\n\n"
        assert captured.err == ""


class TestResumed:
    def test_killed(
        self, one_case: Translations, write: Write, tmp_path: Path, monkeypatch: Any, capsys: Any
    ) -> None:
        arguments = (one_case.model, *BPE, write(one_case.sources * 4), "--window-lines", 5)
        out = tmp_path / "out"
        written = models.Writer.write
        calls: list[int] = []

        def killed(self: Any, rows: Any, **more: Any) -> Any:
            calls.append(len(rows))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return written(self, rows, **more)

        monkeypatch.setattr(models.Writer, "write", killed)
        translate(*arguments, "-o", out, code=130)
        said = "10 lines are done: the same command goes on there"
        assert said in capsys.readouterr().err
        assert not out.exists()
        # Other languages would be mixed into what is there.
        translate(*arguments, "-o", out, "--tgt-lang", "de", code=2)
        assert "languages.tgt_lang was 'fr' and is 'de'" in error_of_last(capsys)
        # Other batches change nothing.
        translate(*arguments, "-o", out, "--batch-size", 2)
        assert "20 lines, 10 of them by an earlier run" in capsys.readouterr().err
        assert sum(calls) == 5 + 5 + 5 + 10
        translate(*arguments)
        assert out.read_text() == capsys.readouterr().out
        assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "text"]


def error_of_last(capsys: Any) -> str:
    return str(capsys.readouterr().err.splitlines()[-1])


class TestTexts:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        """A folder with a tokenizer; what it writes has no meaning."""
        write_checkpoint(
            tmp_path / "model",
            "XLMForConditionalGeneration",
            lang2id={lang: i for i, lang in enumerate(("de", "en", "fr", "ro", "zh"))},
        )
        return write_folder(tmp_path / "model", mode="original")

    @pytest.fixture
    def sent(self, monkeypatch: Any) -> list[list[int]]:
        """The ids that the model gets; it writes them back."""
        rows_sent: list[list[int]] = []

        def write(self: Any, rows: Any, **more: Any) -> list[models.Rows]:
            rows_sent.extend(map(list, rows))
            return [models.Rows([list(row)], None) for row in rows]

        monkeypatch.setattr(models.Writer, "write", write)
        return rows_sent

    def run(self, model: Path, source: Path, *more: str) -> None:
        translate(model, source, *LANGUAGES, "--framework", "torch", "--quiet", *more)

    def test_text_in_text_out(
        self, model: Path, sent: list[list[int]], write: Write, capsys: Any
    ) -> None:
        text = ["Abc, (de) x fg!", "</s> <special1> b"]
        source = write(text)
        tokenizer = XLMTokenizer.from_pretrained(model)
        self.run(model, source, "--batch-size", "1")
        expected = [
            tokenizer(line, lang="en", framing="sentence", split_special_tokens=True).input_ids
            for line in text
        ]
        # Frames, and no control token out of a text.
        assert sorted(sent) == sorted(expected)
        assert all(row.count(1) == 2 for row in sent)
        # Joined as French is written; what is unknown is said.
        first, second = lines_of(capsys)
        assert first == "abc <unk> <unk> de <unk> <unk> fg <unk>"
        assert second.endswith(" b")
        self.run(model, source, "--json")
        found = json.loads(lines_of(capsys)[0])
        assert found["unknown"] == found["texts"][0]["unknown"] == 5

    def test_as_the_original_prepared_romanian(
        self, model: Path, sent: list[list[int]], write: Write
    ) -> None:
        source = write(["ăbc"])
        self.run(model, source, "--src-lang", "ro", "--no-detokenize")
        self.run(model, write(["abc"], "plain"), "--src-lang", "en")
        assert sent[0] == sent[1]

    def test_romanian_of_a_run_is_as_it_was_trained(
        self, model: Path, sent: list[list[int]], write: Write, tmp_path: Path
    ) -> None:
        """Only the original rids sources of their accents, whatever the tokenizer does."""
        shutil.copytree(model, tmp_path / "run")
        settings = json.loads((tmp_path / "run" / "tokenizer_config.json").read_text())
        settings["do_lowercase_and_remove_accent"] = False
        (tmp_path / "run" / "tokenizer_config.json").write_text(json.dumps(settings))
        source = write(["ăbc"])
        options = ("--src-lang", "ro", "--no-detokenize")
        self.run(tmp_path / "run", source, *options)
        (tmp_path / "run" / "facebook.json").write_text(Original().to_json())
        self.run(tmp_path / "run", source, *options)
        assert sent[0] != sent[1]
        assert 3 in sent[0]  # the letter is unknown
        assert 3 not in sent[1]

    def test_codes_of_a_file(
        self, one_case: Translations, sent: list[list[int]], tmp_path: Path, write: Write
    ) -> None:
        (tmp_path / "bpe").write_text("b a</w> 9\nc e 9\nce ba</w> 9\n")
        source = write(["Ceba, ceba!"])
        self.run(one_case.model, source, "--codes", str(tmp_path / "bpe"))
        assert sent == [[1, 15, 3, 15, 3, 1]]

    def test_another_tokenizer(
        self, model: Path, sent: list[list[int]], tmp_path: Path, write: Write
    ) -> None:
        write_folder(tmp_path / "other")
        self.run(model, write(["abc"]), "--tokenizer", str(tmp_path / "other"))
        assert sent == [[1, 31, 1]]


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--src-lang", "en"), "tgt_lang was not given: give an id, a name"),
            (("--tgt-lang", "en"), "src_lang was not given"),
            (("--src-lang", "en", "--tgt-lang", "frr"), "Did you mean 'fr'?"),
            (("--src-lang", "9", "--tgt-lang", "fr"), "src_lang is 9: expected an id in [0, 3)"),
            ((*BPE, "--nbest", "0"), "nbest is 0; expected a whole number from 1 on"),
            ((*BPE, "--nbest", "3", "--num-beams", "2"), "give num_beams of at least 3"),
            ((*BPE, "--num-beams", "0"), "num_beams is 0: expected a whole number of at least 1"),
            (
                (*BPE, "--num-beams", "2", "--early-stopping", "never"),
                "give True or False, or --beam-scoring transformers.",
            ),
            ((*BPE, "--max-length", "9", "--max-new-tokens", "4"), "give one of them"),
            ((*BPE, "--codes", "a"), "--codes a says how words are split, and --input-is-bpe"),
            ((*BPE, "--max-length", "600"), "the model has 512 positions"),
            ((*BPE, "--batch-size", "0"), "batch_size is 0; expected a whole number from 1 on"),
            ((*BPE, "--framework", "tf", "--device", "cpu"), "--device cpu is for PyTorch"),
            (LANGUAGES, "Give the BPE codes that its text was split by (--codes), or --input-is"),
            ((*LANGUAGES, "--codes", "no/such"), "no/such"),
            ((*LANGUAGES, "--codes", "a", "--tokenizer", "b"), "give one."),
        ],
    )
    def test_arguments(
        self, one_case: Translations, write: Write, capsys: Any, arguments: Any, message: str
    ) -> None:
        translate(one_case.model, write(["a"]), *arguments, code=2)
        assert message in error_of(capsys)

    def test_an_encoder(self, tmp_path: Path, write: Write, capsys: Any) -> None:
        write_checkpoint(tmp_path / "model")
        translate(tmp_path / "model", write(["a"]), *LANGUAGES, "--json", code=2)
        captured = capsys.readouterr()
        assert "has no decoder, so it cannot translate" in captured.err
        source = str(tmp_path / "model")
        assert f"from_pretrained(encoder={source!r}, decoder={source!r})" in captured.err
        assert json.loads(captured.out)["error_type"] == "InputError"
        assert captured.out.count("\n") == 1

    def test_another_tokenizers_ids(
        self, one_case: Translations, tmp_path: Path, write: Write, capsys: Any
    ) -> None:
        folder = write_folder(tmp_path / "larger")
        vocabulary = json.loads((folder / "vocab.json").read_text())
        vocabulary |= {f"w{i}</w>": len(vocabulary) + i for i in range(40)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        more = ("--tokenizer", folder)
        translate(one_case.model, write(["a"]), *LANGUAGES, *more, code=2)
        assert "has embeddings of 60: they do not belong together" in error_of(capsys)

    def test_no_input(self, one_case: Translations, tmp_path: Path, capsys: Any) -> None:
        translate(one_case.model, tmp_path / "no", *BPE, code=2)
        assert "There is no file" in error_of(capsys)

    def test_an_output_that_exists(
        self, one_case: Translations, write: Write, tmp_path: Path, capsys: Any
    ) -> None:
        (tmp_path / "out").write_text("before")
        translate(one_case.model, write(["a"]), *BPE, "-o", tmp_path / "out", code=2)
        assert "exists: give another name, or --overwrite" in error_of(capsys)
