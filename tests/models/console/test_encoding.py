"""Text that leaves the programs: invalid file names, and outputs that are not UTF-8."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from models.console.encoding import json_text, make_output_lossless, path_text, valid_text
from models.console.progress import track

NAME = os.fsdecode(b"caf\xe9.jpg")


class Output:
    """Standard output and standard error with an encoding and strict errors, as in most locales."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self.streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), self.streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        make_output_lossless()

    @property
    def written(self) -> tuple[bytes, ...]:
        for stream in self.streams:
            stream.flush()
        return tuple(stream.buffer.getvalue() for stream in self.streams)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", b"caf\xe9.jpg " + "café 猫 🐈 ".encode() + rb"\ud800"),
        ("latin-1", rb"caf\xe9.jpg caf" + b"\xe9" + rb" \u732b \U0001f408 \ud800"),
        ("cp1252", rb"caf\xe9.jpg caf" + b"\xe9" + rb" \u732b \U0001f408 \ud800"),
        ("ascii", rb"caf\xe9.jpg caf\u00e9 \u732b \U0001f408 \ud800"),
        ("shift_jis", rb"caf\xe9.jpg caf\u00e9 " + "猫".encode("shift_jis") + rb" \U0001f408 \ud800"),
    ],
)
def test_any_text_can_be_written(monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes) -> None:
    output = Output(monkeypatch, encoding)
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{NAME} café 猫 🐈 \ud800")
    assert output.written == (expected, expected)


def test_missing_and_replaced_outputs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", memory := io.StringIO())
    make_output_lossless()
    assert sys.stderr is memory


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("terminal", [True, False])
def test_tables_and_progress_bars_can_be_written(
    monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool
) -> None:
    output = Output(monkeypatch, encoding)
    table = Table("name", "class")
    table.add_row(NAME, "猫")
    Console(force_terminal=terminal, width=60, color_system=None).print(table)
    errors = Console(stderr=True, force_terminal=terminal, width=120, color_system=None)
    with track(f"Reading {NAME}", 2, console=errors) as advance:
        advance(2)
    shown, progress = output.written
    name = b"caf\xe9.jpg" if encoding == "utf-8" else rb"caf\xe9.jpg"
    assert name in shown
    assert name in progress
    assert ("猫".encode() if encoding == "utf-8" else rb"\u732b") in shown
    assert b"2 of 2 images" in progress
    lines = [line for line in shown.decode(encoding, "replace").splitlines() if "name" in line]
    assert ("┃" in lines[0]) == (encoding == "utf-8"), "lines of the table have to be ASCII elsewhere"


# --- paths


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.jpg", "a.jpg"),
        ("café 猫/🐈.jpg".encode(), "café 猫/🐈.jpg"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"caf\xe8.jpg", r"caf\xe8.jpg"),
        (b"\xff\xfe", r"\xff\xfe"),
        (b"\xe7\x8c", r"\xe7\x8c"),  # a character that is cut off
        ("café-".encode() + b"\xe9", r"café-\xe9"),
        (rb"caf\xe9.jpg", r"caf\x5cxe9.jpg"),  # a name with a backslash, not with that byte
        (rb"a\b\x\xy\.jpg", r"a\b\x\xy\.jpg"),
    ],
)
def test_path_is_valid_text_with_escapes_for_bytes(name: bytes, expected: str) -> None:
    assert path_text(os.fsdecode(name)) == path_text(Path(os.fsdecode(name))) == expected


def test_path_read_in_an_ascii_locale_has_the_same_text() -> None:
    assert path_text("café".encode().decode("ascii", "surrogateescape")) == "café"


@given(st.one_of(st.binary(), st.from_regex(rb"(\\|x|[0-9a-f]|\xe9|\xc3)*", fullmatch=True)))
@example(b"\\\\xe9")
@example(rb"\x5cxe9")
def test_different_paths_have_different_texts(name: bytes) -> None:
    text = path_text(name.decode("utf-8", "surrogateescape"))
    assert re.sub(rb"\\x([0-9a-fA-F]{2})", lambda escape: bytes.fromhex(escape[1].decode()), text.encode()) == name


@given(st.text(st.characters()))
def test_valid_text_can_be_written_and_is_not_changed_again(text: str) -> None:
    written = valid_text(text).encode().decode()
    assert valid_text(written) == written


def test_backslashes_of_valid_text_are_kept() -> None:
    assert valid_text(r"caf\xe9 é \ ") == r"caf\xe9 é \ "


# --- JSON


@pytest.mark.parametrize("value", ["café 猫 🐈", "\ud800", NAME, 'a"\\b\n', 1.5, None, ["é"]])
@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf-16", "latin-1", "ascii", "cp437", None])
def test_json_can_be_written_and_read_in_any_encoding(value: Any, encoding: str | None) -> None:
    text = json_text({"value": value}, encoding)
    assert json.loads(text.encode(encoding or "utf-8").decode(encoding or "utf-8")) == {"value": value}


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", '"é"'), ("latin-1", r'"\u00e9"'), (None, '"é"')])
def test_json_contains_other_characters_only_in_unicode(encoding: str | None, expected: str) -> None:
    assert json_text("é", encoding) == expected
