"""Tables of results in CSV: the one format of all commands, and that of a blog post.

    file,label,score,error                                      Filename,Predictions
    cats/1.jpg,cat,0.981342,                                    cats/1.jpg,0.018658
    cats/2.jpg,,,This is not an image of a supported format.    cats/2.jpg,

Every image has a row. The lines end as in RFC 4180, so that names with any characters can be read back.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from models.console.encoding import path_text
from models.offline.results import Result

HEADER = ("file", "label", "score", "error")
POST_HEADER = ("Filename", "Predictions")
POST_MEANING = "Filename,Predictions, with the most likely class or, of two classes, the probability of the second"
POST_PREDICTIONS = 3
"""Predictions that `PostTable` needs of each image: three show that there are more than two classes."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of text that a spreadsheet may evaluate (OWASP, CSV injection)."""
_STANDARD_INPUT = "-"


class Table:
    """Writes `file,label,score,error`: a row for each prediction of an image, or one row without any."""

    header: tuple[str, ...] = HEADER

    def __init__(self, file: TextIO) -> None:
        """Write the header to a text file, which must be open without translation of line ends (`newline=""`)."""
        self._writer = csv.writer(file)
        self._writer.writerow(self.header)

    def add(self, result: Result) -> None:
        """Write the rows of an image."""
        self._writer.writerows(self._rows(result))

    def _rows(self, result: Result) -> Iterable[tuple[str, ...]]:
        file, error = _file_cell(result.name), _text_cell(result.error)
        if not result.predictions:
            return [(file, "", "", error)]
        return [(file, _text_cell(label), _score_cell(score), "") for label, _, score in result.predictions]


class PostTable(Table):
    """Writes `Filename,Predictions`, one row for each image.

    The prediction is the probability of the second class if there are two classes, else the most likely class, and
    empty for an image that cannot be read. Results must have `POST_PREDICTIONS` predictions, or all.
    """

    header = POST_HEADER

    def _rows(self, result: Result) -> Iterable[tuple[str, ...]]:
        prediction = ""
        if len(result.predictions) == 2:
            prediction = next(_score_cell(score) for _, index, score in result.predictions if index == 1)
        elif result.predictions:
            prediction = _text_cell(result.predictions[0][0])
        return [(_file_cell(result.name), prediction)]


def _file_cell(name: str) -> str:
    """Return the path as valid text that no spreadsheet evaluates, and that still is a path of the file."""
    text = path_text(name)
    return f"./{text}" if text.startswith(_FORMULA) and text != _STANDARD_INPUT else text


def _text_cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _score_cell(score: float) -> str:
    return f"{score:.6f}"
