"""Whatever a name or a reason holds, terminals, pages, JSON, cards and spreadsheets show it and obey nothing of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from sample_studies import BILL, make_config, no_answer_study

from tuner.records import Decision
from tuner.report.build import build_report
from tuner.report.files import as_csv
from tuner.report.model_card import code
from tuner.report.payloads import as_text
from tuner.report.plain import plain, plain_page
from tuner.report.section import Table

ESCAPES = [
    pytest.param("\x1b[2J\x1b[31m", id="ansi"),
    pytest.param("\x1b]8;;http://example.org\x07link\x1b]8;;\x07", id="link"),
    pytest.param("\x07", id="bell"),
    pytest.param("done\rnot done", id="carriage return"),
    pytest.param("\x9b31m", id="c1"),
    pytest.param("\x85\u2028\u2029\x0b\x0c", id="line ends"),
    pytest.param("abc\u202ecba\u2066x", id="bidi"),
    pytest.param("\x00\x7f\ud800", id="nul, del, half"),
]
HARMLESS = "Größe 模型 נסיון 👩‍🔬 10 % <b>&amp; '; DROP TABLE tuner_trials; -- $(rm) %s [bold]"


@pytest.mark.parametrize("text", ESCAPES)
def test_a_terminal_obeys_nothing_of_a_text(text: str) -> None:
    assert plain(f"a {text} b").isprintable()


@pytest.mark.parametrize("text", ESCAPES)
def test_json_is_printable_and_the_same_value(text: str) -> None:
    shown = as_text({text: [text, HARMLESS]})
    assert all(line.isprintable() for line in shown.split("\n"))
    assert json.loads(shown) == {text: [text, HARMLESS]}


@pytest.mark.parametrize("text", ESCAPES)
def test_a_card_shows_text_inside_one_code_span(text: str) -> None:
    for hostile in (text, f"`` {text} `</code>", "---\nlicense: mine\n---", "a | b", "![x](http://example.org/x.png)"):
        shown = code(hostile)
        assert shown.isprintable()
        assert re.fullmatch(r"`[^`|\n]*`", shown)


def test_a_page_keeps_alphabets_and_emoji_and_writes_out_what_would_be_obeyed() -> None:
    assert plain_page(f"{HARMLESS}\n\t") == f"{HARMLESS}\n\t"
    assert plain_page("a\x1b\u202e\ud800b") == "a\\x1b\\u202e\\ud800b"


def test_a_report_of_hostile_texts_is_written_and_its_policy_names_its_own_style(tmp_path: Path) -> None:
    hostile = "".join(str(each.values[0]) for each in ESCAPES) + "</style><script>alert(1)</script>" + HARMLESS
    study = replace(
        no_answer_study("x"),
        decisions=(Decision(kind="rung", phase="budget_sweep", reason=hostile),),
        reason=hostile,
    )
    config = make_config("x").model_copy(update={"description": hostile.replace("\ud800", "")})
    page = build_report(study, config, bill=BILL, out=tmp_path, command=hostile).page.read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert f"style-src 'sha256-{digest}';" in policy[1]
    assert "unsafe" not in policy[1]
    assert " style=" not in page


def test_spreadsheet_formulas_in_full_width_are_made_plain_text() -> None:
    table = Table(name="t", title="t", columns=("a",), rows=(("＝1+1",), ("＠x",), (-3,)))
    assert as_csv(table).decode().splitlines() == ["a", "'＝1+1", "'＠x", "-3"]
