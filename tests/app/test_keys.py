from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import BadKeysFile
from app.keys import KeyRing, Role, add, digest_of, parse
from tests.app.processes import ROOT


def test_a_key_is_found_by_itself_and_by_nothing_near_it(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    laptop, phone = add(path, "laptop", Role.USER), add(path, "phone", Role.ADMIN)
    ring = KeyRing(path)
    found = ring.find(phone)
    assert found is not None
    assert (found.name, found.role) == ("phone", Role.ADMIN)
    for near in (laptop[:-1], f"{laptop} ", laptop.swapcase(), "", digest_of(laptop).hex(), "\ud800"):
        assert ring.find(near) is None


def test_the_file_holds_digests_only_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = add(path, "laptop", Role.USER)
    assert path.read_text() == f"laptop user {hashlib.sha256(key.encode()).hexdigest()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) >= 43  # 256 bits


def test_comments_and_empty_lines_are_allowed() -> None:
    (key,) = parse(f"# keys\n\n a.b-c_d   admin\t{'0' * 64} # of the operator\n")
    assert (key.name, key.role, key.digest) == ("a.b-c_d", Role.ADMIN, bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "laptop user",
        f"laptop root {'0' * 64}",
        f"laptop user {'0' * 63}",
        f"lap top user {'0' * 64}",
        f"a user {'0' * 64}\na user {'1' * 64}",
        "a-key-that-was-put-here-by-mistake",
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_never_shown(text: str) -> None:
    with pytest.raises(BadKeysFile, match=r"line [12]") as caught:
        parse(text)
    assert "mistake" not in str(caught.value)


def test_a_changed_file_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = add(path, "first", Role.USER)
    ring = KeyRing(path)
    second = add(path, "second", Role.USER)
    assert ring.find(second) is None
    ring.refresh()
    assert ring.find(second)
    path.write_text("broken")
    ring.refresh()
    assert ring.find(first)
    path.unlink()
    ring.refresh()
    assert ring.find(first)
    path.write_text("")
    ring.refresh()
    assert ring.find(first) is None


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add(path, "laptop", Role.USER)
    before = path.read_text()
    with pytest.raises(BadKeysFile, match="second time"):
        add(path, "laptop", Role.USER)
    assert path.read_text() == before


def test_the_command_prints_a_key_that_the_file_knows(tmp_path: Path) -> None:
    path = tmp_path / "keys"

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.keys", *arguments],
            cwd=ROOT,
            env={**os.environ, "APP_API_KEYS_FILE": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )

    made = command("operator", "--admin")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"[\w-]{43}", key)
    found = KeyRing(path).find(key)
    assert found is not None
    assert found.role is Role.ADMIN
    again = command("operator")
    assert (again.returncode, again.stdout) == (1, "")
    assert "No key was made" in again.stderr
