from __future__ import annotations

from pathlib import Path

from benchmarks.harness.environment import environment_folder


def test_environment_depends_on_the_content_of_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "empty.lock"
    lock.write_text("# nothing\n")
    before = environment_folder(lock, tmp_path)
    assert environment_folder(lock, tmp_path) == before
    lock.write_text("# something\n")
    assert environment_folder(lock, tmp_path) != before
