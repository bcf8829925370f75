"""`python -m training`: train classifiers from labelled images and save them to the model store."""

from __future__ import annotations

import os
import sys

import typer

from models.console.encoding import make_output_lossless
from models.errors import ModelsError
from training.cli import datasets, evaluate, train
from training.cli.options import print_error
from training.errors import TrainingError

app = typer.Typer(
    help="Train classifiers from labelled images and save them to the model store.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("run")(train.run_recipe)
app.command("features")(train.extract_features)
app.command("fit")(train.fit_head)
app.command("compare")(train.compare_heads)
app.command("import")(datasets.import_dataset)
app.command("export")(datasets.export_dataset)
app.command("overview")(datasets.overview)
app.command("evaluate")(evaluate.evaluate_model)
app.command("predict")(evaluate.predict_folder)

#: Libraries that serving does not need, so they may be missing.
_TRAINING_ONLY = ("tensorflow", "keras", "nncf", "optuna")


def main() -> None:
    """Run the command. Errors that a user can fix end it with one line and exit code 1, without a traceback."""
    make_output_lossless()
    # OpenMP reads it when XGBoost is first imported. While other processes use the cores too, threads that wait by
    # spinning make XGBoost more than four times as slow.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app()
    except (TrainingError, ModelsError, OSError) as error:
        _exit_with_error(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _TRAINING_ONLY:
            raise
        _exit_with_error(
            f"This command needs {error.name}, which is not installed. Use make train RECIPE=..., or install "
            "requirements/cpu.lock."
        )


def _exit_with_error(message: str) -> None:
    print_error(message, style="red")
    sys.exit(1)


if __name__ == "__main__":
    main()
