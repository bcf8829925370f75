"""Names as text: normalized for comparison, and printable in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.runtime.names import normalized, printable, printable_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"plain name.png", "plain name.png"),
        ("Käfer 犬".encode(), "Käfer 犬"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"a\nb\x1b[31m", r"a\nb\x1b[31m"),
    ],
)
def test_printable_name_is_one_line_of_valid_text(name: bytes, expected: str) -> None:
    assert printable(os.fsdecode(name)) == expected


def test_path_is_relative_with_slashes() -> None:
    assert printable_path(Path("/data/pets/cats/1.png"), Path("/data/pets")) == "cats/1.png"
    assert printable_path(Path("/data/readme"), Path("/data/pets")) == "../readme"


def test_composed_and_decomposed_names_are_equal() -> None:
    assert normalized("Ka\u0308fer") == "Käfer" == normalized("Käfer")
