from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.auth.keys import KeyRing, Role, add, digest_of, parse
from app.errors import BadKeysFile
from tests.support.paths import ROOT


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


def test_a_file_whose_time_and_size_stay_is_taken_up_nevertheless(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = add(path, "laptop", Role.USER)
    before = path.stat()
    ring = KeyRing(path)
    time.sleep(0.05)  # longer than a tick of the clock that stamps files
    path.write_text(path.read_text().replace(digest_of(key).hex(), "0" * 64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ring.refresh()
    assert ring.find(key) is None


def test_a_file_that_cannot_be_read_is_told_once_and_taken_up_when_it_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, aside = tmp_path / "keys", tmp_path / "aside"
    key = add(path, "laptop", Role.USER)
    ring = KeyRing(path)
    path.rename(aside)
    path.mkdir()
    ring.refresh()
    ring.refresh()
    assert capsys.readouterr().out.count("were not taken up") == 1
    assert ring.find(key)
    path.rmdir()
    aside.rename(path)
    path.write_text("")
    ring.refresh()
    assert ring.find(key) is None


def test_a_key_that_is_added_leaves_the_file_to_whom_it_belongs(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add(path, "laptop", Role.USER)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 10_001, 10_002)
    before = path.stat()
    add(path, "phone", Role.USER)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o640


@pytest.mark.parametrize("name", ["#x", "a b", "", "a" * 65, f"x user {'0' * 64}\ny"])
def test_a_name_that_a_line_cannot_have_gets_no_key(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadKeysFile, match="a name has"):
        add(tmp_path / "keys", name, Role.USER)
    assert list(tmp_path.iterdir()) == []


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
            [sys.executable, "-m", "app.auth.keys", *arguments],
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
