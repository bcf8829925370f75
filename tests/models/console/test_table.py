"""Results as CSV: the format of all commands, and that of a blog post."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.console.table import PostTable, Table
from models.offline.results import Prediction, Result

CAT: list[Prediction] = [("cat", 0, 0.75)]
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")


def written(table: type[Table], *results: Result) -> str:
    file = io.StringIO(newline="")
    writer = table(file)
    for result in results:
        writer.add(result)
    return file.getvalue()


def rows(table: type[Table], *results: Result) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written(table, *results), newline="")))


def test_each_prediction_and_each_error_has_a_row() -> None:
    both: list[Prediction] = [("dog", 1, 0.9), ("cat", 0, 0.1)]
    text = written(Table, Result("a.jpg", both), Result("b.txt", [], 'No image, "b".'), Result("c.jpg", []))
    assert text == (
        "file,label,score,error\r\n"
        "a.jpg,dog,0.900000,\r\n"
        "a.jpg,cat,0.100000,\r\n"
        'b.txt,,,"No image, ""b""."\r\n'
        "c.jpg,,,\r\n"
    )


def test_post_has_the_probability_of_the_second_of_two_classes() -> None:
    likely, unlikely = [("dog", 1, 0.9), ("cat", 0, 0.1)], [("cat", 0, 0.515855), ("dog", 1, 0.484145)]
    text = written(PostTable, Result("a.jpg", likely), Result("b.jpg", unlikely), Result("c.txt", [], "broken"))
    assert text == "Filename,Predictions\r\na.jpg,0.900000\r\nb.jpg,0.484145\r\nc.txt,\r\n"


def test_post_has_the_most_likely_of_more_classes() -> None:
    three: list[Prediction] = [("owl", 2, 0.5), ("dog", 1, 0.3), ("cat", 0, 0.2)]
    assert rows(PostTable, Result("a.jpg", three))[1:] == [["a.jpg", "owl"]]


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("table", [Table, PostTable])
def test_no_cell_is_a_formula_for_a_spreadsheet(table: type[Table], text: str) -> None:
    results = (Result(text, [(text, 0, 1.0)]), Result(f"{text}.txt", [], text))
    named, *cells = (cell for row in rows(table, *results)[1:] for cell in row if cell)
    assert named == f"./{text}", "it is still the path of the file"
    assert all(cell[0] in "'./01" for cell in cells)


def test_standard_input_keeps_its_name() -> None:
    assert rows(Table, Result("-", CAT))[1][0] == "-"


@given(st.lists(st.text(st.characters(exclude_characters="\0/"), min_size=1), unique=True, max_size=5))
def test_names_with_any_characters_are_read_back_as_different_ones(names: list[str]) -> None:
    read = rows(Table, *(Result(name, CAT) for name in names))[1:]
    assert len({row[0] for row in read}) == len(names)
    assert all(row[1:] == ["cat", "0.750000", ""] for row in read)


def test_name_with_a_line_break_is_one_cell() -> None:
    assert rows(Table, Result("a\r\nb\rc\nd.jpg", CAT))[1] == ["a\r\nb\rc\nd.jpg", "cat", "0.750000", ""]
