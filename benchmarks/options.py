"""Command-line options that several benchmarks share, and the choices that they offer."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.runtime.folders import CACHE_FOLDER

DEFAULT_CACHE = CACHE_FOLDER / "benchmarks"


class InputSize(StrEnum):
    """Input size of an extractor in pixels: the one made for benchmarks, or the shipped one."""

    LARGE = "299"
    SHIPPED = "96"


class ImageSize(StrEnum):
    """Width and height of the JPEG files in pixels: typical of the web, or of a camera."""

    WEB = "500x375"
    CAMERA = "4000x3000"


RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="Number of rounds; the median is reported.")]
SideOption = Annotated[int, typer.Option("--side", min=8, help="Width and height of the images in pixels.")]
ModelOption = Annotated[str, typer.Option("--model", help="NAME or NAME@VERSION of a classifier.")]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the model store.", show_default="models/store")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the results of every round to this file.")]
CacheOption = Annotated[
    Path,
    typer.Option(
        "--cache", help="Folder for model stores and environments made once.", show_default="cache/benchmarks"
    ),
]
SecondsOption = Annotated[float, typer.Option("--seconds", min=1, help="Duration of each load in seconds.")]
ConnectionsOption = Annotated[
    int, typer.Option("--connections", min=1, help="Connections of the closed loop, each with one request in flight.")
]
NetworkOption = Annotated[
    InputSize, typer.Option("--network", help="Input size of the extractor: 299 is made for benchmarks, 96 is shipped.")
]
ImageSizeOption = Annotated[ImageSize, typer.Option("--picture", help="Width and height of the JPEG files in pixels.")]
