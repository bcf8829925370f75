"""Selection of the engine and precision for an extractor: allowed by the settings, validated, and installed.

By default the fastest is used: TensorFlow on a GPU if there is one; on the CPU OpenVINO, then TensorFlow. Lower
precisions come first, bfloat16 only on CPUs that support it.
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

_GPU_ENGINES = ("tensorflow:float16", "tensorflow:float32")
_CPU_ENGINES = (
    "openvino:int8",
    "openvino:bfloat16",
    "openvino:float32",
    "tensorflow:bfloat16",
    "tensorflow:float32",
)
_GPU_DEVICES = (Path("/dev/nvidia0"), Path("/dev/dxg"), Path("/dev/kfd"))
_REQUIREMENTS = {"openvino": "requirements/serve.lock", "tensorflow": "requirements/cpu.lock"}


@dataclass(frozen=True)
class EngineSelection:
    """The engine and precision to use; `auto` is the fastest installed one that reproduces the golden outputs.

    Attributes:
        engine: the library.
        precision: the numeric precision.
        threads: number of CPU threads; None: all available cores.
    """

    engine: EngineName = "auto"
    precision: Precision = "auto"
    threads: int | None = None

    def candidates(self, manifest: ExtractorManifest) -> list[str]:
        """Return the usable `engine:precision` of an extractor, the fastest first.

        Raises:
            EngineError: there is none; the message says what to install or to set.
        """
        has_gpu = self.engine != "openvino" and _has_gpu()
        allowed = [name for name in _fastest_first(has_gpu) if self._allows(name) and name in manifest.engines]
        if not allowed:
            raise EngineError(
                f"{manifest.name}@{manifest.version} supports {', '.join(manifest.engines)}, "
                f"but {self} is configured. Set APP_ENGINE and APP_PRECISION to one of these, or to auto."
            )
        installed = [name for name in allowed if find_spec(name.partition(":")[0])]
        if not installed:
            library = allowed[0].partition(":")[0]
            raise EngineError(
                f"{manifest.name}@{manifest.version} can use {', '.join(allowed)}, but {library} is not installed. "
                f"Install {_REQUIREMENTS[library]}, or build the extractor again for an installed engine."
            )
        return installed

    def _allows(self, name: str) -> bool:
        engine, _, precision = name.partition(":")
        if self.precision == "auto" and precision == "bfloat16" and not has_bfloat16():
            return False
        return self.engine in ("auto", engine) and self.precision in ("auto", precision)

    def __str__(self) -> str:
        return f"{self.engine}:{self.precision}"


def create(name: str, manifest: ExtractorManifest, read: ReadFile, threads: int | None = None) -> Engine:
    """Compile an extractor; imports the engine's library.

    Args:
        name: `engine:precision`, one of the manifest's.
        manifest: the extractor's manifest.
        read: reads the extractor's files.
        threads: number of CPU threads; None: all available cores.

    Raises:
        ArtifactError: the files are invalid, or the library cannot run them.
    """
    engine, _, precision = name.partition(":")
    if engine == "openvino":
        from models.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(precision, read, threads or available_cores())
    from models.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(precision, manifest, read, threads or available_cores())


def _fastest_first(has_gpu: bool) -> list[str]:
    return list(dict.fromkeys([*_GPU_ENGINES, *_CPU_ENGINES] if has_gpu else _CPU_ENGINES))


def _has_gpu() -> bool:
    """Ask TensorFlow, which takes seconds to import, only if there is a GPU device."""
    if not any(device.exists() for device in _GPU_DEVICES) or not find_spec("tensorflow"):
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))  # does not initialize TensorFlow: threads can still be set
