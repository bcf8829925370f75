from __future__ import annotations

from pathlib import Path

from benchmarks.peers.results_log import ResultsLog


def test_finished_measurement_is_not_repeated(tmp_path: Path) -> None:
    file, calls = tmp_path / "results.jsonl", []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"rate": len(calls)}

    assert ResultsLog(file, {"seconds": 3}).get_or_measure("peak", measure) == {"rate": 1}
    file.write_text(file.read_text() + '{"settings": {"seconds": 3}, "key": "ot')  # killed while writing
    resumed = ResultsLog(file, {"seconds": 3})
    assert resumed.get_or_measure("peak", measure) == {"rate": 1}
    assert resumed.get_or_measure("other", measure) == {"rate": 2}
    assert ResultsLog(file, {"seconds": 3}).get_or_measure("other", measure) == {"rate": 2}
    assert ResultsLog(file, {"seconds": 4}).get_or_measure("peak", measure) == {"rate": 3}


def test_line_of_an_earlier_version_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('\n{"settings": {"seconds": 3}, "key": "peak", "found": {"rate": 7}}\n')
    assert ResultsLog(file, {"seconds": 3}).get_or_measure("peak", lambda: {"rate": 0}) == {"rate": 7}
