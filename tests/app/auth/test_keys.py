"""The file of API keys, and the command that adds keys to it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.auth.keys import KeyRing, Role, add_key, digest_of, parse
from app.errors import BadKeysFile
from tests.support.paths import ROOT
from tests.support.polling import wait_until


def test_key_is_found_and_similar_keys_are_not(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    laptop, phone = add_key(path, "laptop", Role.USER), add_key(path, "phone", Role.ADMIN)
    ring = KeyRing(path)
    match = ring.find(phone)
    assert match is not None
    assert (match.name, match.role) == ("phone", Role.ADMIN)
    for similar in (laptop[:-1], f"{laptop} ", laptop.swapcase(), "", digest_of(laptop).hex(), "\ud800"):
        assert ring.find(similar) is None


@pytest.mark.parametrize("position", [0, 1, 15, 16, 30, 31])
def test_digests_that_differ_in_one_byte_are_different(tmp_path: Path, position: int) -> None:
    path = tmp_path / "keys"
    digest = bytearray(digest_of("presented"))
    path.write_text(f"right user {digest.hex()}\n")
    match = KeyRing(path).find("presented")
    assert match is not None
    assert match.name == "right"
    digest[position] ^= 1
    path.write_text(f"wrong user {digest.hex()}\n")
    assert KeyRing(path).find("presented") is None


def test_every_digest_is_compared_as_a_whole_wherever_the_match_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, compared, compare_digest = tmp_path / "keys", list[tuple[bytes, bytes]](), hmac.compare_digest

    def record(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return compare_digest(first, second)

    keys = {name: add_key(path, name, Role.USER) for name in ("first", "second", "third")}
    ring = KeyRing(path)
    monkeypatch.setattr(hmac, "compare_digest", record)
    for name, key in {**keys, "none": "unknown"}.items():
        compared.clear()
        match = ring.find(key)
        assert (match.name if match else "none") == name
        assert compared == [(digest_of(each), digest_of(key)) for each in keys.values()]


def test_file_holds_only_digests_and_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = add_key(path, "laptop", Role.USER)
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
def test_malformed_line_is_reported_by_number_and_never_quoted(text: str) -> None:
    with pytest.raises(BadKeysFile, match=r"line [12]") as caught:
        parse(text)
    assert "mistake" not in str(caught.value)


def test_changed_file_is_reloaded_and_a_broken_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = add_key(path, "first", Role.USER)
    ring = KeyRing(path)
    second = add_key(path, "second", Role.USER)
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


def stamp(path: Path) -> int:
    """Write a file, and return the time of the clock that stamps files."""
    path.write_bytes(b"")
    return path.stat().st_ctime_ns


def test_change_that_keeps_time_and_size_of_the_file_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    key = add_key(path, "laptop", Role.USER)
    before = path.stat()
    ring = KeyRing(path)
    wait_until(lambda: stamp(tmp_path / "other") > before.st_ctime_ns)
    path.write_text(path.read_text().replace(digest_of(key).hex(), "0" * 64))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    ring.refresh()
    assert ring.find(key) is None


def test_unreadable_file_is_logged_once_and_reloaded_when_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, aside = tmp_path / "keys", tmp_path / "aside"
    key = add_key(path, "laptop", Role.USER)
    ring = KeyRing(path)
    path.rename(aside)
    path.mkdir()
    ring.refresh()
    ring.refresh()
    assert capsys.readouterr().out.count("still using the previous keys") == 1
    assert ring.find(key)
    path.rmdir()
    aside.rename(path)
    path.write_text("")
    ring.refresh()
    assert ring.find(key) is None


def test_adding_a_key_keeps_owner_and_mode_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, "laptop", Role.USER)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 10_001, 10_002)
    before = path.stat()
    add_key(path, "phone", Role.USER)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o640


@pytest.mark.parametrize("name", ["#x", "a b", "", "a" * 65, f"x user {'0' * 64}\ny"])
def test_invalid_name_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadKeysFile, match="A name consists of"):
        add_key(tmp_path / "keys", name, Role.USER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "a" * 64, "a.b-c_d"])
def test_name_may_have_64_characters(tmp_path: Path, name: str) -> None:
    add_key(tmp_path / "keys", name, Role.USER)


def test_key_is_appended_to_a_file_without_a_final_line_break(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    first = add_key(path, "first", Role.USER)
    path.write_text(path.read_text().rstrip("\n"))
    second = add_key(path, "second", Role.ADMIN)
    ring = KeyRing(path)
    assert [match.name for key in (first, second) if (match := ring.find(key))] == ["first", "second"]


def test_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadKeysFile, match="nowhere"):
        add_key(tmp_path / "nowhere" / "keys", "laptop", Role.USER)


def test_name_that_is_taken_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    add_key(path, "laptop", Role.USER)
    before = path.read_text()
    with pytest.raises(BadKeysFile, match="repeats the name laptop"):
        add_key(path, "laptop", Role.USER)
    assert path.read_text() == before


def test_command_prints_a_key_that_the_file_accepts(tmp_path: Path) -> None:
    path = tmp_path / "keys"

    def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "app.keys", *arguments],
            cwd=ROOT,
            env={**os.environ, "APP_API_KEYS_FILE": str(path)},
            capture_output=True,
            text=True,
            check=False,
        )

    created = run_command("operator", "--admin")
    assert created.returncode == 0, created.stderr
    key = created.stdout.strip()
    assert re.fullmatch(r"[\w-]{43}", key)
    match = KeyRing(path).find(key)
    assert match is not None
    assert match.role is Role.ADMIN
    repeated = run_command("operator")
    assert (repeated.returncode, repeated.stdout) == (1, "")
    assert "No key was created" in repeated.stderr
