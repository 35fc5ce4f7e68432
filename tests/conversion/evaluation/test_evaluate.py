"""`xlm evaluate`: BLEU and chrF, by sacreBLEU and as multi-bleu.perl gives it."""

from __future__ import annotations

import builtins
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from sacrebleu.metrics import BLEU, CHRF

from conversion.cli import main
from conversion.evaluation.multi_bleu import multi_bleu

TRANSLATIONS = ["The cat sat on the mat, didn't it?", "Hello world.", "", "A third line, longer."]
REFERENCES = ["The cat sat on a mat, didn't it?", "Hello, world!", "Nothing.", "A third line."]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return write(tmp_path, TRANSLATIONS, REFERENCES)


def write(folder: Path, *texts: list[str]) -> list[str]:
    names = []
    for number, lines in enumerate(texts):
        (folder / f"text{number}").write_text("".join(f"{line}\n" for line in lines))
        names.append(str(folder / f"text{number}"))
    return names


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["evaluate", *arguments]) == code
    captured = capsys.readouterr()
    assert not (captured.err if code == 0 else captured.out)
    return (captured.out if code == 0 else captured.err).rstrip("\n")


class TestSacrebleu:
    def test_figures_and_signatures(self, files: list[str], capsys: Any) -> None:
        bleu, chrf = BLEU(), CHRF()
        score = bleu.corpus_score(TRANSLATIONS, [REFERENCES])
        characters = chrf.corpus_score(TRANSLATIONS, [REFERENCES])
        lines = output(capsys, *files).split("\n")
        assert lines[0].startswith(f"BLEU = {score.score:.2f}, ")
        assert lines[1].strip() == str(bleu.get_signature())
        assert "tok:13a" in lines[1]
        assert lines[2] == f"chrF2 = {characters.score:.2f}"
        assert lines[3].strip() == str(chrf.get_signature())
        found = json.loads(output(capsys, *files, "--json"))
        assert found["bleu"]["score"] == score.score
        assert found["chrf"]["score"] == characters.score
        assert found["lines"] == 4

    def test_several_references(self, tmp_path: Path, capsys: Any) -> None:
        files = write(tmp_path, TRANSLATIONS, REFERENCES, TRANSLATIONS)
        # A name may come after an option.
        assert output(capsys, files[0], "--lang", "en", *files[1:]).startswith("BLEU = 100.00, ")

    @pytest.mark.parametrize("lang", ["zh", "zh_yue"])
    def test_chinese(self, tmp_path: Path, capsys: Any, lang: str) -> None:
        files = write(tmp_path, ["他说你好世界。"], ["他说世界你好。"])
        assert "tok:zh" in output(capsys, *files, "--lang", lang)

    @pytest.mark.parametrize("lang", ["ja", "ko"])
    def test_what_to_install(self, files: list[str], capsys: Any, lang: str) -> None:
        try:
            BLEU(trg_lang=lang)
        except RuntimeError:
            said = output(capsys, *files, "--lang", lang, code=2)
            assert f"pip install 'sacrebleu[{lang}]'" in said
        else:
            assert f"tok:{lang}-mecab" in output(capsys, *files, "--lang", lang)

    def test_without_sacrebleu(
        self, files: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        imported = builtins.__import__

        def load(name: str, *arguments: Any, **more: Any) -> Any:
            if name.startswith("sacrebleu"):
                raise ImportError("No module named 'sacrebleu'")
            return imported(name, *arguments, **more)

        monkeypatch.setattr(builtins, "__import__", load)
        assert "xlm-parity[evaluate]" in output(capsys, *files, code=2)
        assert output(capsys, *files, "--tokenized").startswith("BLEU = ")

    def test_romanian(self, tmp_path: Path, capsys: Any) -> None:
        files = write(tmp_path, ["si intra in casa ta ."], ["şi intră în casa ta ."])
        assert not output(capsys, *files).startswith("BLEU = 100")
        assert output(capsys, *files, "--normalize-romanian").startswith("BLEU = 100.00")
        # The other spelling, with a comma, on the other side.
        files = write(tmp_path, ["și intră în casa ta ."], ["şi intră în casa ta ."])
        assert output(capsys, *files, "--tokenized", "--normalize-romanian").startswith(
            "BLEU = 100.00"
        )


class TestTokenized:
    def test_by_hand(self, tmp_path: Path, capsys: Any) -> None:
        # 6 words against 7: 5, 3, 2 and 1 of 6, 5, 4 and 3 n-grams are there.
        files = write(tmp_path, ["a b c d x e"], ["a b c d y z e"])
        score = 100 * math.exp(1 - 7 / 6) * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
        assert output(capsys, *files, "--tokenized") == (
            f"BLEU = {score:.2f}, 83.3/60.0/50.0/33.3 (BP=0.846, ratio=0.857, hyp_len=6, ref_len=7)"
        )
        found = json.loads(output(capsys, *files, "--tokenized", "--json"))
        assert found["bleu"]["signature"] == "multi-bleu"
        assert found["bleu"]["score"] == pytest.approx(score, rel=1e-12)
        assert found["chrf"] is None

    @pytest.mark.parametrize(
        ("translation", "reference", "line"),
        [
            # As multi-bleu.perl prints it.
            ("a b", "a b", "BLEU = 0.00, 100.0/100.0/0.0/0.0 (BP=1.000, ratio=1.000, hyp_len=2, "),
            ("a a a a", "a b c d", "BLEU = 0.00, 25.0/0.0/0.0/0.0 (BP=1.000, ratio=1.000, "),
            ("a", "", "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"),
            ("", "", "BLEU = 0, 0/0/0/0 (BP=0, ratio=0, hyp_len=0, ref_len=0)"),
            # Where the script divides by zero.
            ("", "a b c d", "BLEU = 0.00, 0.0/0.0/0.0/0.0 (BP=0.000, ratio=0.000, hyp_len=0, "),
            # Subwords are joined, words are told apart by ASCII's blanks alone.
            ("to@@ ge@@ ther a b c", " together  a\tb c ", "BLEU = 100.00, "),
            ("a b c d@@", "a b c d@@ ", "BLEU = 100.00, "),
            ("a\u00a0b c d e", "a b c d e", "BLEU = 0.00, 75.0/66.7/50.0/0.0 "),
            # What the model does not know is never right.
            ("a b <unk> c d", "a b <unk> c d", "BLEU = 0.00, 80.0/50.0/0.0/0.0 "),
        ],
    )
    def test_rules(
        self, tmp_path: Path, capsys: Any, translation: str, reference: str, line: str
    ) -> None:
        files = write(tmp_path, [translation], [reference])
        assert output(capsys, *files, "--tokenized").startswith(line)

    def test_the_nearest_of_several_lengths(self) -> None:
        shorter, longer = ["a b"], ["a b c d"]
        assert multi_bleu(["a b c"], [longer, shorter]).reference_length == 2
        assert multi_bleu(["a b c d e"], [shorter, longer]).reference_length == 4

    def test_against_sacrebleu(self) -> None:
        drawn = random.Random(5)
        bleu = BLEU(tokenize="none", smooth_method="none", force=True)
        for _ in range(20):
            sides = [
                [" ".join(drawn.choices("abcd", k=drawn.randint(4, 12))) for _ in range(6)]
                for _ in range(3)
            ]
            peer = bleu.corpus_score(sides[0], sides[1:])
            ours = multi_bleu(sides[0], sides[1:])
            assert ours.score == pytest.approx(peer.score, rel=1e-12)
            assert ours.precisions == pytest.approx(tuple(peer.precisions), rel=1e-12)
            assert ours.hypothesis_length == peer.sys_len
            assert ours.reference_length == peer.ref_len
            assert ours.brevity_penalty == pytest.approx(peer.bp, rel=1e-12)


class TestRefused:
    def test_other_numbers_of_lines(self, tmp_path: Path, capsys: Any) -> None:
        files = write(tmp_path, ["a", "b"], ["a"])
        said = output(capsys, *files, code=2)
        assert f"{files[0]} has 2 lines and {files[1]} has 1: expected a translation" in said

    def test_no_lines(self, tmp_path: Path, capsys: Any) -> None:
        files = write(tmp_path, [], [])
        assert f"{files[0]} holds no lines" in output(capsys, *files, code=2)

    def test_no_references(self, files: list[str], capsys: Any) -> None:
        assert "no references" in output(capsys, files[0], code=2)

    def test_the_standard_input_twice(self, capsys: Any) -> None:
        assert "it can be one" in output(capsys, "-", "-", code=2)

    def test_no_file(self, files: list[str], capsys: Any, tmp_path: Path) -> None:
        assert "There is no file" in output(capsys, files[0], str(tmp_path / "no"), code=2)
