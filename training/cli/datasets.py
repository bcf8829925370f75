"""Datasets: brought in, written as shards, looked over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.console.progress import track
from models.console.tensorflow_logs import hide_startup_messages
from training.cli.options import CacheOption, out, print_line
from training.data.dataset import CACHE_FOLDER, DATA_FOLDER, unpacked
from training.ingest import cifar10
from training.ingest.cifar10 import import_cifar10
from training.ingest.class_folders import import_folders


def import_dataset(
    name: Annotated[str, typer.Argument(help="`cifar10` for the official archive, or a name of yours.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder or archive; cifar10 is downloaded without.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Put it in the place of a dataset of that name.")] = False,
    url: Annotated[str, typer.Option(help="Another place of the official archive.")] = cifar10.URL,
    checksum: Annotated[str | None, typer.Option(help="MD5 or SHA-256 of the archive.")] = None,
    folder: Annotated[Path, typer.Option("--into", help="Folder of all datasets.")] = DATA_FOLDER,
) -> None:
    """Bring a dataset into the data folder; files that are broken or twice there are left out and listed."""
    if name == "cifar10":
        report = import_cifar10(source, folder, url=url, checksum=checksum, replace=replace, track=track)
    elif source is None:
        raise typer.BadParameter(f"say with --from where {name} lies; only cifar10 can be downloaded")
    else:
        report = import_folders(name, source, folder, replace=replace, track=track)
    out.print(report.summary())


def export_dataset(
    data: Annotated[Path, typer.Argument(help="Folder or archive of a dataset.")],
    to: Annotated[Path, typer.Option("--to", help="The new folder.")],
    shards: Annotated[int, typer.Option(min=1, help="Files for each split.")] = 8,
    replace: Annotated[bool, typer.Option(help="Put it in the place of what is there.")] = False,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Write a dataset as TFRecord shards, which run, features, fit and compare take as well."""
    with hide_startup_messages():
        from training.ingest.tfrecord_export import export

    for split, images in export(data, to, shards, replace=replace, cache=cache, track=track).items():
        print_line(f"{split}: {images:,} images in {to / split}")


def overview(
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of the dataset.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the pictures.")] = Path("runs/overview"),
) -> None:
    """Count and draw a dataset: images of each class, sizes, a grid of samples."""
    from training.data.overview import survey
    from training.reporting.overview_plots import draw

    found = survey(unpacked(data, "train"), data.name, track)
    out.print(found.tables())
    for picture in draw(found, to):
        out.print(f"picture: {picture}", highlight=False)
