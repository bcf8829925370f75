"""Options that several of the commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.harness.workload import Network, Picture
from training.data.dataset import CACHE_FOLDER

CACHE = CACHE_FOLDER / "benchmarks"

Rounds = Annotated[int, typer.Option("--rounds", min=1, help="How often each way is measured.")]
Side = Annotated[int, typer.Option(min=8, help="Of the pictures, in pixels.")]
StoreOption = Annotated[Path, typer.Option("--store", help="Folder of the artifacts.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="File for the same as JSON.")]
Cache = Annotated[Path, typer.Option("--cache", help="Stores and environments that are made for this, once.")]
Seconds = Annotated[float, typer.Option("--seconds", min=1, help="Of each load.")]
Connections = Annotated[int, typer.Option("--connections", min=1, help="Of a closed loop, each with one request.")]
NetworkOption = Annotated[Network, typer.Option("--network", help="Extractor by its input size: made, or shipped.")]
PictureOption = Annotated[Picture, typer.Option("--picture", help="Pixels of the JPEG files.")]
