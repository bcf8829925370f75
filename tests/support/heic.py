"""HEIC files put together from the coded images of small files, since no library of this project can write HEIC.

The files in tests/models/decoding/heic were coded by x265; README.md there says how. A container (ISO/IEC 14496-12 and
23008-12) is written around their bits here: grids of any size, rotated and mirrored images, and files that lie.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from tests.support.paths import ROOT

FOLDER = ROOT / "tests" / "models" / "decoding" / "heic"
TILE_SIDE = 512
"""Side of the tile in tile.heic, px: that of iPhones."""

_EXIF_ORIENTATION = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0"


@dataclass(frozen=True)
class Item:
    """An item of a file: its type, bytes and properties, and the items that it refers to by a type of reference."""

    kind: bytes
    data: bytes
    properties: tuple[bytes, ...] = ()
    reference: bytes = b""
    targets: tuple[int, ...] = ()


@cache
def heic(name: str) -> bytes:
    """Return the bytes of a stored file."""
    return (FOLDER / f"{name}.heic").read_bytes()


@cache
def coded(name: str) -> Item:
    """Return the coded image of a stored file with one image, with the properties that decoders need."""
    data = heic(name)
    configuration, size = (_box(data, kind) for kind in (b"hvcC", b"ispe"))
    return Item(b"hvc1", _box(data, b"mdat")[8:], (configuration, size))


def transformed(name: str, *properties: bytes, exif_orientation: int | None = None) -> bytes:
    """Return a stored image with further properties: `irot`, `imir`, `ispe` and others, in this order."""
    image = coded(name)
    items = [Item(image.kind, image.data, image.properties + properties)]
    if exif_orientation is not None:
        exif = bytes(4) + _EXIF_ORIENTATION % exif_orientation
        items.append(Item(b"Exif", exif, reference=b"cdsc", targets=(1,)))
    return container(items)


def grid(
    columns: int, rows: int, size: tuple[int, int] | None = None, *properties: bytes, tiles: int | None = None
) -> bytes:
    """Return a grid image like a phone's, all of whose tiles are the same one.

    Args:
        columns: number of columns.
        rows: number of rows.
        size: width and height; by default of all tiles.
        properties: further properties of the grid.
        tiles: number of tiles in the file, if it lacks some.
    """
    width, height = size or (columns * TILE_SIDE, rows * TILE_SIDE)
    tile = coded("tile")
    count = columns * rows if tiles is None else tiles
    layout = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    whole = Item(b"grid", layout, (ispe(width, height), *properties), b"dimg", tuple(range(2, 2 + count)))
    return container([whole, *[tile] * count])


def declared(name: str, width: int, height: int) -> bytes:
    """Return a stored image whose header declares another size than that of its frame."""
    image = coded(name)
    return container([Item(image.kind, image.data, (image.properties[0], ispe(width, height)))])


def container(items: Sequence[Item], primary: int = 1) -> bytes:
    """Return a file of items, which are numbered from 1; equal bytes are stored once."""
    offsets: dict[bytes, int] = {}
    content = b""
    for item in items:
        if item.data not in offsets:
            offsets[item.data] = len(content)
            content += item.data
    start = len(_before(items, primary, dict.fromkeys(offsets, 0))) + 8
    return _before(items, primary, {data: start + offset for data, offset in offsets.items()}) + box(b"mdat", content)


def _before(items: Sequence[Item], primary: int, offsets: dict[bytes, int]) -> bytes:
    """Return everything before the bytes of the items, whose size does not depend on the offsets."""
    properties = list(dict.fromkeys(value for item in items for value in item.properties))
    numbered = list(enumerate(items, 1))
    entries = [
        full_box(b"infe", struct.pack(">HH", number, 0), item.kind, b"\0", version=2) for number, item in numbered
    ]
    places = [struct.pack(">HHHII", number, 0, 1, offsets[item.data], len(item.data)) for number, item in numbered]
    associations = [
        struct.pack(">HB", number, len(item.properties))
        + bytes(0x80 | properties.index(value) + 1 for value in item.properties)
        for number, item in numbered
    ]
    references = [
        box(item.reference, struct.pack(f">HH{len(item.targets)}H", number, len(item.targets), *item.targets))
        for number, item in numbered
        if item.targets
    ]
    return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + full_box(
        b"meta",
        full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
        full_box(b"pitm", struct.pack(">H", primary)),
        full_box(b"iinf", struct.pack(">H", len(items)), *entries),
        *([full_box(b"iref", *references)] if references else []),
        box(
            b"iprp",
            box(b"ipco", *properties),
            full_box(b"ipma", struct.pack(">I", len(items)), *associations),
        ),
        full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)), *places),
    )


def ispe(width: int, height: int) -> bytes:
    """Return the property that declares a size."""
    return full_box(b"ispe", struct.pack(">II", width, height))


def irot(quarters: int) -> bytes:
    """Return the property that rotates anti-clockwise by quarter turns."""
    return box(b"irot", bytes([quarters]))


def imir(axis: int) -> bytes:
    """Return the property that mirrors: 0 turns it upside down, 1 swaps left and right."""
    return box(b"imir", bytes([axis]))


def clap(width: int, height: int) -> bytes:
    """Return the property that crops to the middle."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, 0, 1, 0, 1))


def box(kind: bytes, *parts: bytes) -> bytes:
    payload = b"".join(parts)
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def full_box(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def _box(data: bytes, kind: bytes) -> bytes:
    """Return the first box of a type, with its header."""
    start = data.index(kind) - 4
    return data[start : start + int.from_bytes(data[start : start + 4])]
