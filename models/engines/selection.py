"""Which engine runs an extractor, in which precision: what was asked for, what it was proved on, what is here.

By itself the fastest is taken: a GPU by TensorFlow where there is one; on the CPU OpenVINO, then TensorFlow; the lower
precision first, and bfloat16 only on processors that have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from models.cpu import available_cores, has_bfloat16
from models.engines.base import Engine, ReadFile
from models.errors import EngineError
from models.manifests import ExtractorManifest

EngineName = Literal["auto", "openvino", "tensorflow"]
Precision = Literal["auto", "int8", "float16", "bfloat16", "float32"]

_GPU = ("tensorflow:float16", "tensorflow:float32")
_CPU = (
    "openvino:int8",
    "openvino:bfloat16",
    "openvino:float32",
    "tensorflow:bfloat16",
    "tensorflow:float32",
)
_GPU_DRIVERS = (Path("/dev/nvidia0"), Path("/dev/dxg"), Path("/dev/kfd"))
_INSTALL = {"openvino": "requirements/serve.lock", "tensorflow": "requirements/cpu.lock"}


@dataclass(frozen=True)
class EngineSelection:
    """What an extractor is to be compiled for; `auto` is the fastest that is here and repeats the golden outputs."""

    engine: EngineName = "auto"
    precision: Precision = "auto"
    threads: int | None = None

    def candidates(self, manifest: ExtractorManifest) -> list[str]:
        """`engine:precision` of all that may run an extractor, the fastest first.

        Raises:
            EngineError: there is none; says what to install or to set.
        """
        has_gpu = self.engine != "openvino" and _has_gpu()
        asked = [name for name in _fastest_first(has_gpu) if self._allows(name) and name in manifest.engines]
        if not asked:
            raise EngineError(
                f"{manifest.name}@{manifest.version} runs on {', '.join(manifest.engines)}, "
                f"but {self} is asked for. Set APP_ENGINE and APP_PRECISION to one of these, or to auto."
            )
        found = [name for name in asked if find_spec(name.partition(":")[0])]
        if not found:
            library = asked[0].partition(":")[0]
            raise EngineError(
                f"{manifest.name}@{manifest.version} runs on {', '.join(asked)}, and {library} is not installed. "
                f"Install {_INSTALL[library]}, or make it anew with a file for an engine that is here."
            )
        return found

    def _allows(self, name: str) -> bool:
        engine, _, precision = name.partition(":")
        if self.precision == "auto" and precision == "bfloat16" and not has_bfloat16():
            return False
        return self.engine in ("auto", engine) and self.precision in ("auto", precision)

    def __str__(self) -> str:
        return f"{self.engine}:{self.precision}"


def create(name: str, manifest: ExtractorManifest, read: ReadFile, threads: int | None = None) -> Engine:
    """Compile an extractor; imports the engine's library only now.

    Args:
        name: `engine:precision`, one of the manifest's.
        manifest: names the network, its input size and its tops.
        read: gives the extractor's files.
        threads: on the CPU; none means every core this process may use.

    Raises:
        ArtifactError: the files do not fit, or the library cannot run them.
    """
    engine, _, precision = name.partition(":")
    if engine == "openvino":
        from models.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(precision, read, threads or available_cores())
    from models.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(precision, manifest, read, threads or available_cores())


def _fastest_first(has_gpu: bool) -> list[str]:
    return list(dict.fromkeys([*_GPU, *_CPU] if has_gpu else _CPU))


def _has_gpu() -> bool:
    """Asked of TensorFlow only where there is a driver, since that takes seconds."""
    if not any(driver.exists() for driver in _GPU_DRIVERS) or not find_spec("tensorflow"):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))  # which does not start it: threads can still be set
