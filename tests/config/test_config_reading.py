from __future__ import annotations

import os
from pathlib import Path

import pytest
from config_studies import STUDY, changed, complaints, load

from tuner.config.load import load_study
from tuner.config.reading import MAX_BYTES, read_yaml
from tuner.errors import ConfigError


def test_the_study_loads_with_its_folder_and_text(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.config.study == "small"
    assert loaded.folder == tmp_path.resolve()
    assert loaded.text == STUDY
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-2e+1", -20.0),
        ("010", 10),
        ("0x10", 16),
        ("1_000", 1000),
        ("no", "no"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2024-01-02", "2024-01-02"),
        ("True", True),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("e3", "e3"),
    ],
)
def test_plain_values_are_read_as_yaml_1_2(text: str, value: object) -> None:
    found = read_yaml(f"x: {text}").data["x"]
    assert found == value
    assert type(found) is type(value)


def test_every_key_and_item_has_its_line() -> None:
    document = read_yaml("a:\n  b: 1\n\n  c:\n    - x\n    - y\n")
    assert document.lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6}


def test_duplicate_keys_are_refused_with_both_lines(tmp_path: Path) -> None:
    text = changed("  optimizer: adamw\n", "  optimizer: adamw\n  beta1: 0.9\n  beta1: 0.8\n")
    assert complaints(tmp_path, text) == [
        "x.yaml:11: training.beta1: given twice, first on line 10; remove one of them"
    ]


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", "x.yaml: is empty; start with", id="empty"),
        pytest.param("# only a comment\n", "x.yaml: is empty; start with", id="comment"),
        pytest.param("- a\n", 'x.yaml:1: holds ["a"], not a mapping of settings', id="list"),
        pytest.param("hello", 'x.yaml:1: holds "hello", not a mapping of settings', id="text"),
        pytest.param("study: a\nx:\n\t- b\n", "x.yaml:3: a tab stands where YAML wants spaces", id="tab"),
        pytest.param("a: [1\nb: 2\n", "x.yaml:2: not valid YAML", id="bracket"),
        pytest.param("a: 1\n---\nb: 2\n", "x.yaml:2: a second document starts here", id="documents"),
        pytest.param("a: \x00", "x.yaml:1: character #x0000 is not allowed", id="nul"),
        pytest.param('a: "\\UFFFFFFFF"', "x.yaml: holds an escape that is no character", id="escape"),
        pytest.param('a: "\\ud800"', "x.yaml:1: a: '\\ud800' cannot be read as text", id="surrogate"),
        pytest.param("a: !!python/name:os.system x", "x.yaml:1: a: the tag !!python/name:os.system", id="tag"),
        pytest.param("a: !!binary aGk=", "x.yaml:1: a: the tag !!binary is not read", id="binary"),
        pytest.param("? [a]\n: 1\n", "x.yaml:1: a key must be plain text", id="key"),
        pytest.param("b: &b {c: 1}\na:\n  <<: *b\n", "x.yaml:3: a.<<: merge keys are not read", id="merge"),
        pytest.param("a: .nan", "x.yaml:1: a: .nan is not a finite number", id="nan"),
        pytest.param("a: 1e999", "x.yaml:1: a: 1e999 is not a finite number", id="overflow"),
        pytest.param("a: " + "9" * 5000, "x.yaml:1: a: '99999", id="digits"),
        pytest.param("a: 9223372036854775808", "x.yaml:1: a: '9223372036854775808' is out of range", id="64 bits"),
        pytest.param("a: 0x" + "f" * 9000, "x.yaml:1: a: '0xfff", id="hex digits"),
        pytest.param('a: "x\\0"', "x.yaml:1: a: 'x\\x00' cannot be read as text", id="escaped nul"),
        pytest.param('"x\\0": 1', "x.yaml:1: the key 'x\\x00' holds what is no text", id="nul in a key"),
        pytest.param('"\\ud800": 1', "x.yaml:1: the key '\\ud800' holds what is no text", id="surrogate in a key"),
        pytest.param("&a [*a]", "x.yaml:1: aliases unfold to more values", id="recursion"),
        pytest.param(BOMB, "aliases unfold to more values", id="bomb"),
        pytest.param("a: &a 1\nb: [" + "*a," * 200 + "]", "x.yaml:2: more than 100 aliases", id="aliases"),
        pytest.param("[" * 100_000, "x.yaml:1: more than 20 levels of nesting", id="nesting"),
        pytest.param("a: [" + "1," * 100_000 + "]", "x.yaml:1: more than 5,000 values", id="values"),
        pytest.param("# " + "x" * MAX_BYTES, "x.yaml: is larger than 250,000 bytes", id="size"),
    ],
)
@pytest.mark.timeout(60)
def test_what_cannot_be_read_is_one_line_at_once(tmp_path: Path, text: str, complaint: str) -> None:
    lines = complaints(tmp_path, text)
    assert len(lines) == 1
    assert complaint in lines[0]


def test_files_that_cannot_be_opened_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9\n")
    for name, complaint in {
        "studdy.yaml": f"no such file; give the path of a study YAML; did you mean {tmp_path}/study.yaml?",
        "": "is a folder",
        "latin.yaml": "is not UTF-8 text (byte 10)",
        "study.yaml/x": "cannot be read (Not a directory)",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_study(tmp_path / name)
        assert complaint in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)
def test_a_pipe_or_a_device_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(ConfigError, match="is no file but a device or a pipe; give the path of a study YAML"):
            load_study(path)


def test_a_key_of_any_length_is_told_in_a_short_line(tmp_path: Path) -> None:
    lines = complaints(tmp_path, changed("  optimizer: adamw\n", f"  {'x' * 5000}: adamw\n"))
    assert len(lines) == 1
    assert len(lines[0]) < 1000


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeff" + STUDY).config.study == "small"
