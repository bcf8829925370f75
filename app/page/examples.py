"""Example images for trying the page; static/examples/CREDITS.txt lists their authors."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """An image file below static/examples and its alternative text."""

    file: str
    alt: str


EXAMPLES = (
    Example("cat.jpg", "Photograph of a cat's face"),
    Example("dog.jpg", "Drawing of a puppy"),
    Example("gull.jpg", "Drawing of a gull"),
    Example("airplane.jpg", "Drawing of an airplane"),
    Example("ship.jpg", "Drawing of a sailing boat"),
    Example("truck.jpg", "Drawing of a dump truck"),
)
