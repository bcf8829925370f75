"""TensorFlow's engine on several devices, and on one with little memory: logical devices of the CPU stand for GPUs."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

_TWO_DEVICES = """
import threading
import numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from models import golden, networks
from models.engines import tensorflow as engines
from models.manifests import WEIGHTS_FILE
from tests.models.tiny import extractor_manifest

tensors = networks.tensors(networks.build("small_cnn", 32, {"colour": 4}))
files = {WEIGHTS_FILE: networks.to_bytes(tensors)}
engine = engines.TensorFlowEngine("float32", extractor_manifest({}), files.__getitem__, 1, ["CPU:0", "CPU:1"])
assert engine.lanes == 2, engine.lanes
engine.warm(4)

# Two callers at a time, each on a device of its own.
used, both = [], threading.Barrier(2, timeout=60)
def noted(graph, device):
    def run(pixels):
        used.append(device)
        both.wait()
        found = graph(pixels)
        assert all(device in value.device for value in found.values()), (device, {v.device for v in found.values()})
        return found
    return run
graphs = [noted(graph, f"CPU:{number}") for number, graph in enumerate(engine._graphs)]
while not engine._free.empty():
    engine._free.get()
for graph in graphs:
    engine._free.put(graph)
pixels = golden.draw(32, 6)
answers = []
threads = [threading.Thread(target=lambda: answers.append(engine.run(pixels))) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(used) == ["CPU:0", "CPU:1"], used
np.testing.assert_allclose(answers[0]["pooled"], answers[1]["pooled"], atol=1e-6)

# A device that has memory for two images at a time.
sizes, whole = [], engine._graphs[0]
def small(pixels):
    sizes.append(len(pixels))
    if len(pixels) > 2:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    return whole(pixels)
while not engine._free.empty():
    engine._free.get()
engine._free.put(small)
np.testing.assert_allclose(engine.run(pixels)["pooled"], answers[0]["pooled"], atol=1e-6)
assert sizes == [6, 3, 2, 1, 3, 2, 1], sizes
assert engine._free.qsize() == 1
print("held")
"""


def test_devices_take_turns_and_a_batch_too_large_for_one_is_halved() -> None:
    done = subprocess.run([sys.executable, "-c", _TWO_DEVICES], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("held")
