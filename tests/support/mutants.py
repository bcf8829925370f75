"""Classifiers of which some bytes were changed, with digests that match them again."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.artifacts.store import MANIFEST_FILE, ClassifierArtifact
from models.manifests import GOLDEN_FILE, HEAD_FILE, render, sha256

Files = dict[str, bytes]
Random = np.random.Generator


def write_mutant(folder: Path, source: ClassifierArtifact, kind: str, random: Random) -> None:
    """Write a changed copy of a classifier into a folder, which names it: .../NAME/VERSION."""
    files = {file: source.read(file) for file in source.manifest.files}
    if kind != "manifest":
        KINDS[kind](files, random)
    manifest = source.manifest.model_copy(
        update={
            "name": folder.parent.name,
            "version": int(folder.name),
            "head": source.manifest.head.model_copy(update={"sha256": sha256(files[HEAD_FILE])}),
            "files": {file: sha256(data) for file, data in files.items()},
        }
    )
    files[MANIFEST_FILE] = render(manifest)
    if kind == "manifest":
        KINDS[kind](files, random)
    folder.mkdir(parents=True)
    for file, data in files.items():
        (folder / file).write_bytes(data)


def _change_head(files: Files, random: Random) -> None:
    files[HEAD_FILE] = _changed(files[HEAD_FILE], random)


def _change_trees(files: Files, random: Random) -> None:
    """Change the trees, not the pickle around them."""
    content = pickle.loads(files[HEAD_FILE])
    content["model"] = _changed(content["model"], random)
    files[HEAD_FILE] = pickle.dumps(content, protocol=4)


def _change_indices(files: Files, random: Random) -> None:
    """Change one of the children or features of trees, which XGBoost does not check."""
    content = pickle.loads(files[HEAD_FILE])
    data, key = bytearray(content["model"]), random.choice([b"left_children", b"right_children", b"split_indices"])
    ends = [match.end() for match in re.finditer(key, data)]
    start = int(random.choice(ends)) + len(b"[$l#L") + 8
    position = start + 4 * int(random.integers(0, 3))
    value = random.choice([0, 1, 2, -1, -2, 7, 1_000, 2**20, 2**31 - 1])
    data[position : position + 4] = int(value).to_bytes(4, "big", signed=True)
    files[HEAD_FILE] = pickle.dumps({**content, "model": bytes(data)}, protocol=4)


def _change_golden(files: Files, random: Random) -> None:
    """Change the archive, or the arrays in it."""
    if random.random() < 0.5:
        files[GOLDEN_FILE] = _changed(files[GOLDEN_FILE], random)
        return
    with np.load(io.BytesIO(files[GOLDEN_FILE])) as archive:
        arrays: dict[str, Any] = dict(archive)
    name = random.choice(sorted(arrays))
    array = arrays[name]
    arrays[name] = np.frombuffer(_overwritten(array.tobytes(), random), array.dtype).reshape(array.shape)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    files[GOLDEN_FILE] = buffer.getvalue()


def _change_manifest(files: Files, random: Random) -> None:
    """Change the manifest, and its own digest if it still is JSON."""
    changed = _changed(files[MANIFEST_FILE], random, printable=True)
    try:
        content = json.loads(changed)
        content.pop("digest", None)
        digest = sha256((json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
        changed = (json.dumps({"digest": digest, **content}, indent=2, ensure_ascii=False) + "\n").encode()
    except (ValueError, AttributeError):
        pass
    files[MANIFEST_FILE] = changed


KINDS: dict[str, Callable[[Files, Random], None]] = {
    "head": _change_head,
    "trees": _change_trees,
    "indices": _change_indices,
    "golden": _change_golden,
    "manifest": _change_manifest,
}


def _changed(data: bytes, random: Random, *, printable: bool = False) -> bytes:
    """Change one to four bytes, and sometimes remove or repeat some."""
    changed = bytearray(_overwritten(data, random, printable=printable))
    kind, start = random.random(), int(random.integers(0, len(changed)))
    end = start + int(random.integers(1, 9))
    if kind < 0.1:
        del changed[start:end]
    elif kind < 0.2:
        changed[start:start] = changed[start:end]
    return bytes(changed)


def _overwritten(data: bytes, random: Random, *, printable: bool = False) -> bytes:
    """Change one to four bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 5)):
        position = int(random.integers(0, len(changed)))
        changed[position] = int(random.integers(32, 127) if printable else random.integers(0, 256))
    return bytes(changed)
