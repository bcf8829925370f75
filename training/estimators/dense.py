"""Parameters of a head of dense layers. Fitting it needs Keras and is in `dense_keras`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from models.arrays import Floats, Integers
from models.heads import Estimator
from training.estimators.base import HeadParameters


class Dense(HeadParameters):
    """A network of dense layers on standardized features, with dropout after each hidden layer."""

    kind: Literal["dense"] = "dense"
    units: tuple[Annotated[int, Field(ge=1)], ...] = (2048, 512, 64)
    dropout: float = Field(0.2, ge=0, lt=1)
    learning_rate: float = Field(0.001, gt=0, description="of Adam")
    batch: int = Field(128, ge=1)
    epochs: int = Field(50, ge=1, description="maximum")
    patience: int = Field(3, ge=1, description="epochs without a lower validation loss before the fit ends")

    def fit(self, features: Floats, labels: Integers, seed: int) -> Estimator:
        """Fit on features [images, features] and class indices [images]."""
        # Imported here because the serve extra has no Keras, and the other heads do not need it.
        from training.estimators.dense_keras import DenseSettings, fit_dense

        settings = DenseSettings(
            units=self.units,
            dropout=self.dropout,
            learning_rate=self.learning_rate,
            batch_size=self.batch,
            max_epochs=self.epochs,
            patience=self.patience,
        )
        return fit_dense(settings, features, labels, seed)
