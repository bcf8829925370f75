from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "xgboost", "openvino", "sklearn")


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after it imported these."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["app", "app.main", "models", "models.catalog", "models.__main__"])
def test_importing_is_cheap(module: str) -> None:
    """The libraries of a network and of a head come with the first network and the first head."""
    found = loaded_by(module) & set(HEAVY)
    assert not found, f"importing {module} loads {', '.join(sorted(found))}, which takes seconds and memory"


@pytest.mark.parametrize("module", ["models.catalog", "models.__main__", "models.answers"])
def test_models_know_no_web(module: str) -> None:
    assert not loaded_by(module) & {"fastapi", "starlette", "uvicorn", "app", "training"}


def test_heads_are_fitted_and_evaluated_without_tensorflow() -> None:
    """requirements/serve.lock, which has none, is enough for a classifier of one's own."""
    found = loaded_by("training.run", "training.evaluate", "training.overview") & {"tensorflow", "keras", "nncf"}
    assert not found, f"training.run loads {', '.join(sorted(found))} for a recipe that makes no network"
