"""Commands for datasets: import, export and overview."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from models.console.progress import track
from models.console.tensorflow_logs import hide_startup_messages
from training.cli.options import CacheOption, console, print_line
from training.data.archives import locate_root
from training.ingest import cifar10
from training.ingest.cifar10 import import_cifar10
from training.ingest.class_folders import import_class_folders
from training.runtime.context import log_left_out
from training.runtime.folders import CACHE_FOLDER, DATA_FOLDER


def import_dataset(
    name: Annotated[str, typer.Argument(help="Name of the new dataset, or cifar10 for the official CIFAR-10 archive.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder or archive to import. Default for cifar10: download it.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Replace an existing dataset of that name.")] = False,
    url: Annotated[str, typer.Option(help="URL to download the official CIFAR-10 archive from.")] = cifar10.URL,
    checksum: Annotated[str | None, typer.Option(help="Expected MD5 or SHA-256 of the CIFAR-10 archive.")] = None,
    folder: Annotated[
        Path, typer.Option("--into", help="Folder that contains all datasets.", show_default="data")
    ] = DATA_FOLDER,
) -> None:
    """Import a dataset into the data folder. Damaged and duplicate files are listed and skipped."""
    if name == cifar10.NAME:
        report = import_cifar10(source, folder, url=url, checksum=checksum, replace=replace, track=track)
    elif source is None:
        raise typer.BadParameter(f"give the folder or archive of {name} with --from; only cifar10 can be downloaded")
    else:
        report = import_class_folders(name, source, folder, replace=replace, track=track)
    console.print(report.summary())


def export_dataset(
    data: Annotated[Path, typer.Argument(help="Folder or archive of a dataset.")],
    to: Annotated[Path, typer.Option("--to", help="Folder to create.")],
    shards: Annotated[int, typer.Option(min=1, help="Files per split.")] = 8,
    replace: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False,
    cache: CacheOption = CACHE_FOLDER,
) -> None:
    """Write a dataset as TFRecord shards, which `run`, `features`, `fit` and `compare` can read too."""
    with hide_startup_messages():
        from training.ingest.tfrecord_export import export

    log = partial(log_left_out, print_line)
    written = export(data, to, shards, replace=replace, cache=cache, track=track, on_left_out=log)
    for split, images in written.items():
        print_line(f"{split}: {images:,} images in {to / split}")


def overview(
    data: Annotated[Path, typer.Option("--data", help="Folder or archive of the dataset.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the plots.")] = Path("runs/overview"),
) -> None:
    """Summarize a dataset: images per class, image sizes and a grid of samples, as tables and plots."""
    from training.data.overview import read_overview
    from training.reporting.overview_plots import write_plots

    summary = read_overview(locate_root(data, "train"), data.name, track)
    console.print(summary.tables())
    for plot in write_plots(summary, to):
        print_line(f"plot: {plot}")
