"""`python -m training`: from labelled images to a classifier in the store."""

from __future__ import annotations

import os
import sys

import typer

from models.errors import ModelsError
from training.cli import datasets
from training.cli import evaluate as answering
from training.cli import train as making
from training.cli.options import errors
from training.errors import TrainingError

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command("run")(making.run_recipe)
app.command("features")(making.extract_features)
app.command("fit")(making.fit_head)
app.command("compare")(making.compare_heads)
app.command("import")(datasets.import_dataset)
app.command("export")(datasets.export_dataset)
app.command("overview")(datasets.overview)
app.command("evaluate")(answering.evaluate_model)
app.command("predict")(answering.predict_folder)

_NOT_FOR_SERVING = ("tensorflow", "keras", "nncf", "optuna")


def main() -> None:
    """Run the command; an error of use is one line, never a traceback."""
    # It is read when the library is first imported. Where others use the processor too, threads of XGBoost that
    # wait for each other by spinning take over four times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except (TrainingError, ModelsError, OSError) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _NOT_FOR_SERVING:
            raise
        _fail(
            f"This needs {error.name}, and serving does not: make train RECIPE=..., or install requirements/cpu.lock."
        )


def _fail(line: str) -> None:
    errors.print(line, style="red", highlight=False, soft_wrap=True, markup=False)
    sys.exit(1)


if __name__ == "__main__":
    main()
