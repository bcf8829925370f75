from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

HEAVY = ("tensorflow", "keras", "xgboost", "openvino", "sklearn")


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after it imported these."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["app", "app.main", "models", "models.artifacts.catalog", "models.__main__"])
def test_importing_is_cheap(module: str) -> None:
    """The libraries of a network and of a head come with the first network and the first head."""
    found = loaded_by(module) & set(HEAVY)
    assert not found, f"importing {module} loads {', '.join(sorted(found))}, which takes seconds and memory"


@pytest.mark.parametrize("module", ["models.artifacts.catalog", "models.__main__", "models.offline.predict"])
def test_models_know_no_web(module: str) -> None:
    assert not loaded_by(module) & {"fastapi", "starlette", "uvicorn", "app", "training"}


def test_heads_are_fitted_and_evaluated_without_tensorflow() -> None:
    """requirements/serve.lock, which has none, is enough for a classifier of one's own."""
    found = loaded_by("training.train", "training.evaluation.evaluate", "training.data.overview") & {
        "tensorflow",
        "keras",
        "nncf",
    }
    assert not found, f"training.train loads {', '.join(sorted(found))} for a recipe that makes no network"
