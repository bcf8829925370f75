"""KServe's own REST client, unchanged, against a server process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.harness.environment import environment_python
from tests.support.colour_images import COLOURS
from tests.support.encoded_images import encoded
from tests.support.paths import ROOT

CLIENT = ROOT / "tests" / "support" / "kserve"


@pytest.mark.slow  # installs 360 MB in an environment of its own, once
@pytest.mark.timeout(600)
def test_kserve_client_reads_health_and_predictions(tiny_address: str, tmp_path: Path) -> None:
    images = [tmp_path / f"{colour}.jpg" for colour in ("red", "blue")]
    for image in images:
        image.write_bytes(encoded(image.stem, "JPEG", (200, 150)))
    python = environment_python(CLIENT / "requirements.lock", ROOT / "cache" / "benchmarks")
    command = [str(python), str(CLIENT / "call.py"), tiny_address, "colours", *map(str, images)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 0, process.stderr
    answer = json.loads(process.stdout)
    assert (answer["live"], answer["ready"], answer["model_ready"]) == (True, True, True)
    assert answer["shape"] == [2, len(COLOURS)]
    labels = list(COLOURS)
    for image, row in zip(images, answer["probabilities"], strict=True):
        assert labels[row.index(max(row))] == image.stem
