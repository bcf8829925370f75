"""Pictures to try the page with; static/examples/CREDITS.txt says who made them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A picture below static/examples, and what people who cannot see it are told."""

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
