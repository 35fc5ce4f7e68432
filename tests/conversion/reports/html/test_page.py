"""The page of a report: well-formed, needs nothing from elsewhere, and shows what was found."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conversion.reports.html.page import check_target, page_of, write_page
from conversion.reports.html.parts import Cell, element, escaped, table
from conversion.reports.outputs import Bars, Row
from conversion.reports.pair import Forward, PairReport
from conversion.reports.verification import Report
from conversion.verification import verify_pair
from tests.conversion import pairs
from xlm_core.errors import CheckpointError

SVG = ".//svg"


def row(name: str, relative: float, dtype: str = "float64", problem: str | None = None) -> Row:
    return Row(dtype, name, (6, 19, 12), relative, relative, bar=1e-12, problem=problem)


def rows(layers: int = 3, relative: float = 1e-15) -> tuple[Row, ...]:
    return tuple(
        row(name, relative * scale, dtype)
        for dtype, scale in (("float64", 1.0), ("float32", 1e9))
        for layer in range(layers + 1)
        for name in (f"hidden_states[{layer}]", f"attentions[{layer}]")
        if name != f"attentions[{layers}]"
    )


def report(**values: object) -> Report:
    known = {
        "folder": "some/folder",
        "architecture": "XLMModel",
        "batch": (6, 19),
        "languages": 5,
        "rows": rows(),
        "bars": Bars(),
        "versions": {"numpy": "2.0"},
        "seconds": {"PyTorch": {"float64": {"open": 0.5, "run": 0.25}}, "total": 1.5},
        "layout": "tf",
    }
    return Report(**{**known, **values})  # type: ignore[arg-type]


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PairReport:
    """Two that differ in a swap and in a tensor of a hostile name; nothing ran."""
    pairs.hide_frameworks(monkeypatch)

    def change(tensors: pairs.Tensors) -> None:
        pairs.swap_query_and_key(tensors)
        tensors[pairs.HOSTILE] = tensors["pred_layer.proj.bias"]

    return verify_pair(*pairs.write_pair(tmp_path, change))


def parsed(page: str) -> ElementTree.Element:
    """The page as XML: it is well-formed, and nothing in it comes from or leads elsewhere."""
    assert page.startswith("<!DOCTYPE html>\n")
    root = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))
    tags = {element.tag for element in root.iter()}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
    for node in root.iter():
        for name, value in node.attrib.items():
            assert name not in ("src", "href", "srcset", "action", "style", "data")
            assert not name.startswith("on"), (name, value)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", page)
    return root


def text_in(node: ElementTree.Element) -> str:
    return " ".join("".join(node.itertext()).split())


class TestPages:
    def test_of_one_checkpoint(self) -> None:
        root = parsed(page_of(report()))
        words = text_in(root)
        for expected in ("PASSED", "some/folder", "XLMModel", "numpy 2.0", "tf", "1.5 in all"):
            assert expected in words
        assert "PyTorch, float64: 0.5 to open, 0.2 to run" in words
        assert len(root.findall(SVG)) == 1
        assert len(root.findall(".//table")) == 2
        assert "hidden_states[3]" in words

    def test_of_one_that_failed(self) -> None:
        bad = row("logits", 0.5, problem="5.0e-01 of the largest value, bar 1e-12")
        root = parsed(page_of(report(rows=(*rows(), bad))))
        (verdict,) = [node for node in root.iter("p") if "verdict" in node.get("class", "")]
        assert verdict.get("class") == "verdict failed"
        assert text_in(verdict) == f"FAILED{report(rows=(bad,)).verdict()[8:]}"

    def test_of_two(self, pair: PairReport) -> None:
        root = parsed(page_of(pair))
        words = text_in(root)
        assert "Tensors, bit by bit: 52 of 55 equal" in words
        assert "its values are those of A's attentions.1.k_lin.weight" in words
        assert "left out: B does not fit its own configuration" in words
        grid = [node for node in root.iter("table") if node.get("class") == "grid"][1]
        marks = {
            line[0].text: [(cell.text, cell.get("class")) for cell in line[1:]]
            for line in grid.iter("tr")
        }
        good, bad = ("=", "good"), ("\N{NOT EQUAL TO}", "bad")
        assert marks["attentions.q_lin.weight"] == [good, bad, good]
        assert marks["attentions.v_lin.weight"] == [good, good, good]
        assert len(marks) == 17  # and the header

    def test_of_two_that_ran(self, pair: PairReport) -> None:
        forward = Forward(("A in PyTorch", "B in TensorFlow"), rows(), (6, 19), 5)
        root = parsed(page_of(replace(pair, forward=forward, not_proven=("this",))))
        assert len(root.findall(SVG)) == 1
        assert "Error by layer, A in PyTorch against B in TensorFlow" in text_in(root)
        assert "not proven: this" in text_in(root)

    def test_of_two_of_other_configurations(self, pair: PairReport) -> None:
        root = parsed(page_of(replace(pair, fields={"n_heads": (4, 2), "asm": ("<i>", None)})))
        (found,) = [node for node in root.iter("table") if "field" in text_in(node)]
        assert text_in(found) == "fieldABn_heads42 asm'<i>'None"


class TestHostile:
    NAMES = (
        pairs.HOSTILE,
        "</title><script>alert(1)</script>",
        "]]><!--",
        "\ud800\x00\ufffe\u202e",
        "x" * 10_000,
    )

    @pytest.mark.parametrize("name", NAMES)
    def test_a_path(self, name: str, tmp_path: Path) -> None:
        given = report(folder=name, architecture=name, versions={name: name}, notes=(name,))
        write_page(tmp_path / "page.html", given)
        parsed((tmp_path / "page.html").read_text(encoding="utf-8"))

    @pytest.mark.parametrize("name", NAMES)
    def test_a_tensor_and_a_problem(self, name: str, pair: PairReport) -> None:
        bad = replace(pair.tensors[0], name=name, place=name, problem=name)
        side = replace(pair.sides[0], source=name, problems=(name,))
        given = replace(
            pair,
            tensors=(*pair.tensors, bad),
            sides=(side, side),
            fields={name: (name, name)},
            notes=(name,),
            not_proven=(name,),
            forward=Forward(failure=name),
        )
        root = parsed(page_of(given))
        assert {node.tag for node in root.iter()} == {
            node.tag for node in parsed(page_of(replace(pair, fields={"x": (1, 2)}))).iter()
        }

    def test_a_name_from_a_file(self, pair: PairReport) -> None:
        root = parsed(page_of(pair))
        assert not list(root.iter("td/b"))
        (bold,) = root.iter("b")
        assert bold.text == "FAILED"
        assert "<b onload=\"x('1')\">&\\x1b[31m\\n</td>" in text_in(root)


class TestParts:
    def test_escaping(self) -> None:
        assert escaped('<a b="c">&\'\n\x1b') == "&lt;a b=&quot;c&quot;&gt;&amp;&#x27;\\n\\x1b"
        assert element("td", "x", title='"><b>', class_="a b") == (
            '<td title="&quot;&gt;&lt;b&gt;" class="a b">x</td>'
        )

    def test_tables(self) -> None:
        root = ElementTree.fromstring(table(("a", "<"), [("1", Cell("2", "bad", "why"))], "grid"))
        assert [node.text for node in root.iter("th")] == ["a", "<"]
        assert [(node.text, node.get("class"), node.get("title")) for node in root.iter("td")] == [
            ("1", None, None),
            ("2", "bad", "why"),
        ]


class TestTarget:
    def test_only_a_page_is_replaced(self, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        write_page(page, report())
        write_page(page, report(folder="another"))
        assert "another" in page.read_text(encoding="utf-8")
        weights = tmp_path / "model.safetensors"
        weights.write_bytes(b"weights")
        with pytest.raises(CheckpointError, match="is no HTML page"):
            write_page(weights, report())
        assert weights.read_bytes() == b"weights"

    def test_must_be_possible(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="is a folder"):
            check_target(tmp_path)
        with pytest.raises(CheckpointError, match="does not exist"):
            check_target(tmp_path / "absent" / "page.html")
