"""Columns of tables: one document per row, whatever the format; every bad table one clear line with its place."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest

from tuner.config.schema import CausalLMWorkload
from tuner.errors import ConfigError, DataError
from tuner.workloads.tables import column_texts
from tuner.workloads.text import load_tokens, read_documents

TEXTS = ["plain", "with, comma", 'with "quotes"', "two\nlines\r\nand more", "", "é 👍 \u2028 end", "x" * 200_000]


def write_table(path: Path, texts=TEXTS) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([("id", "body"), *enumerate(texts)])
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"id": number, "body": text}, ensure_ascii=False) for number, text in enumerate(texts)]
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"id": list(range(len(texts))), "body": list(texts)}), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_row_is_a_document_with_exactly_its_text(tmp_path, suffix):
    path = write_table(tmp_path / f"t{suffix}")
    assert column_texts(path, "body") == list(enumerate(TEXTS, start=1))
    documents = read_documents(path.name, folder=tmp_path, column="body")
    assert [document.data.decode() for document in documents] == [text for text in TEXTS if text]
    assert documents[0].name == f"{path}, row 1"


def test_same_rows_in_any_format_are_the_same_data(tmp_path):
    texts = [f"row {number} with some words" for number in range(30)]
    digests = set()
    for suffix in (".csv", ".jsonl", ".parquet"):
        path = write_table(tmp_path / f"t{suffix}", texts)
        study = CausalLMWorkload(kind="causal_lm", text=path.name, text_column="body", block_size=8)
        digests.add(load_tokens(study, folder=tmp_path, cache=tmp_path / "cache").digest)
    assert len(digests) == 1


def test_equal_rows_stay_separate_and_blank_lines_are_no_rows(tmp_path):
    (tmp_path / "t.csv").write_text("body\nsame\n\nsame\n\n")
    (tmp_path / "t.jsonl").write_text('{"body": "same"}\n\n{"body": "same"}\n{"body": null}\n')
    for name in ("t.csv", "t.jsonl"):
        assert [d.data for d in read_documents(name, folder=tmp_path, column="body")] == [b"same", b"same"]


def test_byte_order_mark_of_spreadsheets_is_no_part_of_the_first_column(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfbody\nword\n")
    assert column_texts(tmp_path / "t.csv", "body") == [(1, "word")]


def test_files_without_a_column_are_read_whole_as_ever(tmp_path):
    write_table(tmp_path / "t.csv", ["a"])
    assert [d.data for d in read_documents("t.csv", folder=tmp_path)] == [b"id,body\r\n0,a\r\n"]


@pytest.mark.parametrize(
    ("name", "data", "error", "message"),
    [
        (
            "t.csv",
            b"id,boby\n1,a\n",
            ConfigError,
            r"text_column=body: .* did you mean boby\? it has id, boby",
        ),
        ("t.csv", b"id,other\n1,a\n", ConfigError, r"t\.csv has no such column; it has id, other$"),
        ("t.csv", b"", ConfigError, r"t\.csv has no columns at all"),
        ("t.csv", b"body,body\na,b\n", ConfigError, r"has 2 columns of that name; rename all but one"),
        ("t.csv", b"id,body\n1,a,b\n", DataError, r"t\.csv:2 has 3 fields, the first line 2; put texts with commas"),
        ("t.csv", b'id,body\n1,a\n2,"open\n', DataError, r"t\.csv:3 is no CSV \(unexpected end of data\)"),
        ("t.csv", b"id,body\n1,\n2,\n", DataError, r"text_column=body of t\.csv holds no text: 2 rows, all empty"),
        ("t.csv", b"id,body\n1,a\n2,\xf1\n", DataError, r"t\.csv:3 is not UTF-8; convert the file"),
        (
            "t.jsonl",
            b'{"body": "a"}\n{"body": \n',
            DataError,
            r"t\.jsonl:2 is no JSON \(Expecting value\); mend",
        ),
        ("t.jsonl", b'{"body": "a"}\n["a"]\n', DataError, r"t\.jsonl:2 is no JSON object"),
        (
            "t.jsonl",
            b'{"body": "a"}\n{"id": 1}\n',
            DataError,
            r"t\.jsonl:2 has no 'body', other lines have; add",
        ),
        ("t.jsonl", b'{"bdy": "a", "id": 1}\n', ConfigError, r"did you mean bdy\? it has bdy, id"),
        ("t.jsonl", b'{"body": 5}\n', DataError, r"t\.jsonl:1: 'body' holds a int, not text; name a column of texts"),
        ("t.jsonl", b'{"body": "\\ud800"}\n', DataError, r"t\.jsonl, row 1 has no UTF-8 form at character 0"),
        ("t.jsonl", b'{"body": "a"}\n\xff\n', DataError, r"t\.jsonl:2 is not UTF-8"),
        ("t.txt", b"a", ConfigError, r"t\.txt is no table that has columns; use \.csv, \.jsonl, \.parquet"),
        ("t.parquet", b"nonsense", DataError, r"t\.parquet is no Parquet file \(.*\); write it again"),
    ],
)
def test_tables_that_cannot_be_used_are_one_clear_line(tmp_path, name, data, error, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=message) as caught:
        read_documents(name, folder=tmp_path, column="body")
    assert "\n" not in str(caught.value)


def test_parquet_column_of_numbers_or_with_another_name_is_refused(tmp_path):
    path = write_table(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 1: 'id' holds a int, not text"):
        column_texts(path, "id")
    with pytest.raises(ConfigError, match=r"has no such column; did you mean body\? it has id, body"):
        column_texts(path, "bodi")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"t\.parquet needs pyarrow, .* pip install 'tuner\[parquet\]'"):
        column_texts(tmp_path / "t.parquet", "body")


def test_parquet_without_a_column_and_objects_with_one_are_refused(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(DataError, match=r"t\.parquet is not UTF-8 at byte 4; a table needs workload\.text_column"):
        read_documents("t.parquet", folder=tmp_path)
    with pytest.raises(ConfigError, match=r"text_column=body: python:a:b has no columns"):
        read_documents("python:a:b", folder=tmp_path, column="body")
