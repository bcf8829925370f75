"""`python -m app.keys NAME`: create an API key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.auth.keys import Role, add_key
from app.errors import BadKeysFile


def main(
    name: Annotated[str, typer.Argument(help="Name of the key: letters, digits, dots, hyphens and underscores.")],
    file: Annotated[Path, typer.Option(envvar="APP_API_KEYS_FILE", help="Key file; created if it does not exist.")],
    admin: Annotated[bool, typer.Option("--admin", help="Allow this key to load and unload models.")] = False,
) -> None:
    """Create an API key, add its digest to the key file and print the key once. To revoke it, delete its line."""
    try:
        key = add_key(file, name, Role.ADMIN if admin else Role.USER)
    except BadKeysFile as error:
        sys.stderr.write(f"No key was created: {error}\n")
        raise typer.Exit(1) from error
    sys.stdout.write(f"{key}\n")


if __name__ == "__main__":
    typer.run(main)
