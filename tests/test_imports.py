from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

HEAVY = ("tensorflow", "keras", "xgboost", "openvino", "sklearn")


def loaded_by(*modules: str) -> set[str]:
    """Return the top-level modules that are loaded in a new interpreter after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["app", "app.main", "app.server.server", "models", "models.artifacts.catalog", "models.__main__"]
)
def test_import_does_not_load_heavy_libraries(module: str) -> None:
    heavy = loaded_by(module) & set(HEAVY)
    assert not heavy, f"importing {module} loads {', '.join(sorted(heavy))}, which takes seconds and memory"


def test_health_check_loads_no_library() -> None:
    assert not loaded_by("app.health") & {"fastapi", "pydantic", "numpy", "models"}


@pytest.mark.parametrize("module", ["models.artifacts.catalog", "models.__main__", "models.offline.predict"])
def test_models_import_no_web_framework_and_no_other_package(module: str) -> None:
    assert not loaded_by(module) & {"fastapi", "starlette", "uvicorn", "app", "training"}


def test_fitting_heads_does_not_import_tensorflow() -> None:
    """requirements/serve.lock, which has no TensorFlow, is enough to fit a head."""
    loaded = loaded_by("training.train", "training.evaluation.evaluate", "training.data.overview") & {
        "tensorflow",
        "keras",
        "nncf",
    }
    assert not loaded, f"training.train loads {', '.join(sorted(loaded))}"
