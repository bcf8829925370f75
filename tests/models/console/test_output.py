"""Classification results on standard output."""

from __future__ import annotations

import pytest

from models.console.output import OutputFormat, write


def test_table_aligns_labels_in_wide_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    write([("a.jpg", [("猫", 0, 0.75), ("dog", 1, 0.2), ("owl", 2, 0.001)]), ("b.jpg", [])], OutputFormat.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "a.jpg",
        " 猫    75.0%  " + "█" * 22,
        " dog   20.0%  " + "█" * 6,
        " owl    0.1%",
        "b.jpg",
    ]
