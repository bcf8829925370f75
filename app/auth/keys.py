"""API keys, stored as digests in a text file that may change while the server runs.

The file has one line for each key and holds no secret::

    # name   role    SHA-256 of the key
    laptop   user    60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752

A key is 256 random bits, so one pass of SHA-256 is enough: slow hashes protect passwords, which can be guessed
(NIST SP 800-63B, 3.1.2, look-up secrets).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from app.errors import BadKeysFile

_NAME = re.compile(r"[\w.-]{1,64}")
_LINE = re.compile(rf"(?P<name>{_NAME.pattern})\s+(?P<role>user|admin)\s+(?P<digest>[0-9a-f]{{64}})")
_KEY_BYTES = 32
_FileState = tuple[int, int, int, int]

logger = structlog.get_logger("app")


class Role(StrEnum):
    """The rights of a key: `user` may classify images and list models, `admin` may also load and unload models."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True)
class Key:
    """One line of the key file."""

    name: str
    role: Role
    digest: bytes


class KeyRing:
    """The keys of a file, which may change while the server runs."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises BadKeysFile."""
        self._path = path
        self._file_state: _FileState | None = self._stat()
        self._keys = self._read()
        self._last_error = ""

    def find(self, presented: str) -> Key | None:
        """Return the key that a client presents, or None.

        Every digest is compared, each in constant time, so that the duration does not reveal how close a guess is.
        """
        digest = digest_of(presented)
        match = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match

    def refresh(self) -> None:
        """Read the file again if it changed; keep the previous keys while it cannot be read."""
        file_state = self._stat()
        if file_state == self._file_state:
            return
        try:
            self._keys = self._read()
        except BadKeysFile as error:
            if str(error) != self._last_error:
                logger.error("Reloading the API keys failed; still using the previous keys.", why=str(error))
            self._last_error = str(error)
        else:
            logger.info("Reloaded the API keys.", keys=[key.name for key in self._keys])
            self._file_state, self._last_error = file_state, ""

    def _stat(self) -> _FileState | None:
        """Return values that change with the file's content, location, owner and mode; None if there is no file."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> tuple[Key, ...]:
        try:
            return parse(self._path.read_text("utf-8"))
        except (OSError, UnicodeError, BadKeysFile) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise BadKeysFile(f"APP_API_KEYS_FILE={self._path}: {why}") from error


def digest_of(key: str) -> bytes:
    """Return the SHA-256 digest of a key, which clients send in plain text."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def parse(text: str) -> tuple[Key, ...]:
    """Parse the text of a key file.

    Raises:
        BadKeysFile: a line is malformed or repeats a name. The message never quotes the line, which may hold a key.
    """
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if match is None:
            raise BadKeysFile(f"line {number} is not NAME ROLE DIGEST. Create lines with: python -m app.keys NAME")
        if match["name"] in keys:
            raise BadKeysFile(f"line {number} repeats the name {match['name']}. Give every key its own name.")
        keys[match["name"]] = Key(match["name"], Role(match["role"]), bytes.fromhex(match["digest"]))
    return tuple(keys.values())


def add_key(path: Path, name: str, role: Role) -> str:
    """Generate a key, append its line to the file and return the key, which is stored nowhere.

    The file keeps its owner and mode, since the server that reads it may run as another user.

    Raises:
        BadKeysFile: the name is invalid or taken, or the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise BadKeysFile("A name consists of 1 to 64 letters, digits, dots, hyphens and underscores.")
    key = secrets.token_urlsafe(_KEY_BYTES)
    line = f"{name} {role} {digest_of(key).hex()}\n"
    try:
        text = path.read_text("utf-8") if path.exists() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        parse(text + line)
        _replace(path, text + line)
    except (OSError, UnicodeError) as error:
        raise BadKeysFile(f"{path}: {error}") from error
    return key


def _replace(path: Path, text: str) -> None:
    staged = path.with_name(f".{path.name}.new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if path.exists():
            old, new = path.stat(), os.fstat(descriptor)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
        file.write(text)
    staged.replace(path)
