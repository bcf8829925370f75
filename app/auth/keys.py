"""API keys: a file of digests, and `python -m app.auth.keys NAME`, which makes a key and adds its line.

The file has a line for each key, and nothing in it opens a door::

    # name   role    SHA-256 of the key
    laptop   user    60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752

A key is 256 random bits, so that one pass of SHA-256 hides it: slow hashes are for passwords, which can be guessed
(NIST SP 800-63B, 3.1.2, look-up secrets).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import structlog
import typer

from app.errors import BadKeysFile

_NAME = re.compile(r"[\w.-]{1,64}")
_LINE = re.compile(rf"(?P<name>{_NAME.pattern})\s+(?P<role>user|admin)\s+(?P<digest>[0-9a-f]{{64}})")
_RANDOM_BYTES = 32

logger = structlog.get_logger("app")


class Role(StrEnum):
    """What a key opens: images and models, or the addresses that change what is served as well."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True)
class Key:
    """One line of the file."""

    name: str
    role: Role
    digest: bytes


def digest_of(key: str) -> bytes:
    """SHA-256 of a key as a client sends it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def parse(text: str) -> tuple[Key, ...]:
    """The keys of a file's text; raises BadKeysFile, which never repeats a line: it may hold a key by mistake."""
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        found = _LINE.fullmatch(content)
        if found is None:
            raise BadKeysFile(f"line {number} is not NAME ROLE DIGEST; python -m app.auth.keys makes such lines.")
        if found["name"] in keys:
            raise BadKeysFile(f"line {number} has the name {found['name']} a second time.")
        keys[found["name"]] = Key(found["name"], Role(found["role"]), bytes.fromhex(found["digest"]))
    return tuple(keys.values())


_Stamp = tuple[int, int, int, int]


class KeyRing:
    """The keys of a file, which may change while the server runs."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises BadKeysFile."""
        self._path = path
        self._seen: _Stamp | None = self._stamp()
        self._keys = self._read()
        self._told = ""  # why the file could not be read the last time

    def find(self, presented: str) -> Key | None:
        """The key that a client presents, if it is one.

        Digests are compared, each in constant time and all of them whatever is found: how long it takes tells nothing
        of how nearly right a key is.
        """
        digest = digest_of(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def refresh(self) -> None:
        """Read the file again if it has changed; while it cannot be read, the keys stay as they are."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        try:
            self._keys = self._read()
        except BadKeysFile as error:
            if str(error) != self._told:
                logger.error("The changed keys were not taken up; the old ones go on.", why=str(error))
            self._told = str(error)
        else:
            logger.info("Took up the changed keys.", keys=[key.name for key in self._keys])
            self._seen, self._told = stamp, ""

    def _stamp(self) -> _Stamp | None:
        """What changes with the bytes, the place, the owner and the mode of the file."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino

    def _read(self) -> tuple[Key, ...]:
        try:
            return parse(self._path.read_text("utf-8"))
        except (OSError, UnicodeError, BadKeysFile) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise BadKeysFile(f"APP_API_KEYS_FILE={self._path}: {why}") from error


def add(path: Path, name: str, role: Role) -> str:
    """Make a key, append its line to the file, and give the key, which is nowhere else; raises BadKeysFile.

    The file keeps its owner and mode: the server that reads it may be somebody else.
    """
    if not _NAME.fullmatch(name):
        raise BadKeysFile("a name has up to 64 letters, digits, dots, hyphens and underscores.")
    key = secrets.token_urlsafe(_RANDOM_BYTES)
    line = f"{name} {role} {digest_of(key).hex()}\n"
    try:
        before = path.read_text("utf-8") if path.exists() else ""
        if before and not before.endswith("\n"):
            before += "\n"
        parse(before + line)
        _replace(path, before + line)
    except (OSError, UnicodeError) as error:
        raise BadKeysFile(f"{path}: {error}") from error
    return key


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if path.exists():
            replaced, new = path.stat(), os.fstat(descriptor)
            if (replaced.st_uid, replaced.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(replaced.st_mode))
        file.write(text)
    staged.replace(path)


def main(
    name: Annotated[str, typer.Argument(help="who has it: letters, digits, dots, hyphens and underscores")],
    file: Annotated[Path, typer.Option(envvar="APP_API_KEYS_FILE", help="the file of keys, made if there is none")],
    admin: Annotated[bool, typer.Option("--admin", help="it may load and unload models too")] = False,
) -> None:
    """Make an API key, add its digest to the file, and print the key this once. To revoke it, delete its line."""
    try:
        key = add(file, name, Role.ADMIN if admin else Role.USER)
    except BadKeysFile as error:
        sys.stderr.write(f"No key was made: {error}\n")
        raise typer.Exit(1) from error
    sys.stdout.write(f"{key}\n")


if __name__ == "__main__":
    typer.run(main)
