from __future__ import annotations

from pathlib import Path

import pytest

from models.cpu import has_bfloat16


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 fma", False),
        ("vendor_id\t: avx512_bf16", False),
        ("", False),
    ],
)
def test_bfloat16_is_detected_from_cpu_flags(flags: str, expected: bool, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{flags}\nbugs\t\t: none\n")
    assert has_bfloat16(cpuinfo) is expected


def test_bfloat16_is_unsupported_without_cpuinfo(tmp_path: Path) -> None:
    assert not has_bfloat16(tmp_path / "none")
