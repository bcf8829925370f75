"""What the posts measured beside what was measured here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.artifacts.store import DEFAULT_STORE, Store
from training.cli.options import StoreOption, print_line


def tell_posts(
    comparison: Annotated[Path, typer.Option(help="What `compare cifar10` has written.")] = Path(
        "runs/compare/comparison.json"
    ),
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """The blog posts' figures beside those of what lies in the store, as a table in Markdown; measures nothing."""
    from benchmarks import published as posts

    print_line(posts.as_markdown(posts.lines(Store(store), comparison)).rstrip())
