"""TensorFlow engine on several devices, and on one with little memory; logical CPU devices stand for GPUs."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

_PROGRAM = """
import threading
import numpy as np, tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from models import networks
from models.artifacts import golden
from models.engines import tensorflow as engines
from models.manifests import WEIGHTS_FILE
from tests.support.manifests import extractor_manifest

tensors = networks.get_tensors(networks.build("small_cnn", 32, {"colour": 4}))
files = {WEIGHTS_FILE: networks.to_bytes(tensors)}
engine = engines.TensorFlowEngine("float32", extractor_manifest({}), files.__getitem__, 1, ["CPU:0", "CPU:1"])
assert engine.max_concurrent_runs == 2, engine.max_concurrent_runs
engine.warmup(4)

# Two concurrent callers use different devices.
used_devices, both = [], threading.Barrier(2, timeout=60)
def recording(graph, device):
    def run(pixels):
        used_devices.append(device)
        both.wait()
        outputs = graph(pixels)
        assert all(device in value.device for value in outputs.values()), (device, {v.device for v in outputs.values()})
        return outputs
    return run
graphs = [recording(graph, f"CPU:{number}") for number, graph in enumerate(engine._graphs)]
while not engine._idle_graphs.empty():
    engine._idle_graphs.get()
for graph in graphs:
    engine._idle_graphs.put(graph)
pixels = golden.synthetic_images(32, 6)
results = []
threads = [threading.Thread(target=lambda: results.append(engine.run(pixels))) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(used_devices) == ["CPU:0", "CPU:1"], used_devices
np.testing.assert_allclose(results[0]["pooled"], results[1]["pooled"], atol=1e-6)

# A device with memory for batches of two images.
sizes, graph = [], engine._graphs[0]
def limited(pixels):
    sizes.append(len(pixels))
    if len(pixels) > 2:
        raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
    return graph(pixels)
while not engine._idle_graphs.empty():
    engine._idle_graphs.get()
engine._idle_graphs.put(limited)
np.testing.assert_allclose(engine.run(pixels)["pooled"], results[0]["pooled"], atol=1e-6)
assert sizes == [6, 3, 2, 1, 3, 2, 1], sizes
assert engine._idle_graphs.qsize() == 1
print("done")
"""


def test_batches_use_all_devices_and_are_halved_when_memory_is_short() -> None:
    process = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert process.returncode == 0, process.stderr[-2000:]
    assert process.stdout.strip().endswith("done")
