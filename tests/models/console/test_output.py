"""Classification results on standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import sys

import pytest

from models.console.encoding import make_output_lossless
from models.console.output import OutputFormat, write
from models.offline.results import Result

FILES = [OutputFormat.JSON, OutputFormat.CSV, OutputFormat.LABELS, OutputFormat.POST]
NAMES = [os.fsdecode(name) for name in (b"caf\xe8.jpg", b"caf\xe9.jpg", "café.jpg".encode(), rb"caf\xe9.jpg")]
TEXTS = [r"caf\xe8.jpg", r"caf\xe9.jpg", "café.jpg", r"caf\x5cxe9.jpg"]


def written(
    monkeypatch: pytest.MonkeyPatch, results: list[Result], output_format: OutputFormat, encoding: str
) -> bytes:
    """Write results as the command does, to an output with this encoding and strict errors."""
    buffer = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding, newline=""))
        make_output_lossless()
        write(results, output_format)
        sys.stdout.flush()
        return buffer.getvalue()


def names_in(output: bytes, output_format: OutputFormat, encoding: str) -> list[str]:
    text = output.decode(encoding)
    if output_format is OutputFormat.JSON:
        return [json.loads(line)["file"] for line in text.splitlines()]
    return [row[0] for row in csv.reader(io.StringIO(text, newline=""))][1:]


def test_text_aligns_labels_in_wide_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    predictions = [("猫", 0, 0.75), ("dog", 1, 0.2), ("owl", 2, 0.001)]
    write([Result("a.jpg", predictions), Result("b.jpg", []), Result("c.jpg", [], "broken")], OutputFormat.TEXT)
    assert capsys.readouterr().out.splitlines() == [
        "a.jpg",
        " 猫    75.0%  " + "█" * 22,
        " dog   20.0%  " + "█" * 6,
        " owl    0.1%",
        "b.jpg",
    ]


def test_text_begins_with_the_coarser_class_that_is_sure(capsys: pytest.CaptureFixture[str]) -> None:
    breeds, parents = [("pug", 0, 0.45), ("beagle", 1, 0.4)], [("dog", 0.9), ("animal", 0.95)]
    sure = [("pug", 0, 0.9)]
    results = [Result("a.jpg", breeds, parents=parents), Result("b.jpg", sure, parents=parents)]
    write([*results, Result("c.jpg", [], parents=parents)], OutputFormat.TEXT)
    lines = [" ".join(line.split()[:2]) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["a.jpg", "dog 90.0%", "pug 45.0%", "beagle 40.0%", "b.jpg", "pug 90.0%", "c.jpg", "dog 90.0%"]


def test_json_has_the_coarser_classes_of_classifiers_that_have_them(capsys: pytest.CaptureFixture[str]) -> None:
    results = [Result("a.jpg", [("pug", 0, 0.5)], parents=[("dog", 0.75)]), Result("b.jpg", [("sofa", 1, 0.5)], "", [])]
    write(results, OutputFormat.JSON)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["parents"] == [{"label": "dog", "score": 0.75}]
    assert second["parents"] == []


def test_text_contains_the_bytes_of_invalid_names(monkeypatch: pytest.MonkeyPatch) -> None:
    output = written(monkeypatch, [Result(name, []) for name in NAMES], OutputFormat.TEXT, "utf-8")
    assert output.splitlines() == [os.fsencode(name) for name in NAMES]


def test_text_has_bars_of_ascii_where_the_terminal_is_not_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    output = written(monkeypatch, [Result("é.jpg", [("猫", 0, 0.1)])], OutputFormat.TEXT, "latin-1")
    assert output == b"\xe9.jpg\n" + rb" \u732b   10.0%  ###" + b"\n"


@pytest.mark.parametrize("output_format", FILES)
def test_files_to_process_further_are_valid_and_names_stay_different(
    monkeypatch: pytest.MonkeyPatch, output_format: OutputFormat
) -> None:
    output = written(monkeypatch, [Result(name, [("猫", 0, 0.5)]) for name in NAMES], output_format, "utf-8")
    assert names_in(output, output_format, "utf-8") == TEXTS
    assert "猫".encode() in output


def test_json_has_the_error_of_an_image_that_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    write([Result("a.jpg", [("cat", 0, 0.5)]), Result("b.txt", [], "This is not an image.")], OutputFormat.JSON)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"file": "a.jpg", "predictions": [{"label": "cat", "index": 0, "score": 0.5}]},
        {"file": "b.txt", "predictions": [], "error": "This is not an image."},
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-16", "euc_jp"])
@pytest.mark.parametrize("output_format", OutputFormat)
def test_any_terminal_shows_all_images(
    monkeypatch: pytest.MonkeyPatch, output_format: OutputFormat, encoding: str
) -> None:
    names = [*NAMES, "猫 🐈.jpg", "z.jpg"]
    output = written(monkeypatch, [Result(name, [("Žaba", 0, 0.5)]) for name in names], output_format, encoding)
    assert "z.jpg" in output.decode(encoding)
    if output_format is OutputFormat.JSON:
        assert names_in(output, output_format, encoding) == [*TEXTS, "猫 🐈.jpg", "z.jpg"]
    elif output_format is not OutputFormat.TEXT:
        assert len(set(names_in(output, output_format, encoding))) == len(names)
