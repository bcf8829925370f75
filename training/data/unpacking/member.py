"""A file in an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class DamagedMember(Exception):
    """Only this file of an archive cannot be read; the message says why, as in "is damaged in the archive"."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path, with slashes; not trusted.
        content: its bytes in pieces, to be read before the next member is taken. May raise DamagedMember.
    """

    name: str
    content: Iterator[bytes]
