"""The datasets of a recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from training.recipes.base import RecipePart, added_field


class DatasetSpec(RecipePart):
    """A labelled dataset: a folder or archive with one folder per split, each with one folder per class."""

    path: str = Field(description="below the data folder, unless --data gives another location")
    train: str = "train"
    valid: str = added_field(
        "", description="folder of the images that measure a fit after each pass; empty: the held-out 5 %"
    )
    test: str | None = Field("test", description="folder of the test images; empty: none")
    test_once: bool = added_field(
        False, description="a repeated run reports the test figures of the first run instead of measuring again"
    )
    names: dict[str, str] = Field({}, description="class folder -> class name, overriding classes.tsv")


class Probe(RecipePart):
    """A labelled dataset from another source that is measured and reported beside the test set."""

    name: str
    path: str = Field(description="below the folder that contains the recipe's own dataset")
    split: str
    names: dict[str, str] = Field({}, description="class folder -> class of this classifier")


class Calibration(RecipePart):
    """Labelled photographs for a network's own softmax, which was fitted elsewhere; --data says where they are.

    They may have some of its classes only. A class folder is named like its class, by its WordNet id or as in
    classes.tsv.
    """

    split: str = Field(
        "valid",
        description="folder of the images that the temperature is fitted on; empty: --data has the class folders",
    )
    test: str = Field("", description="folder of the images that measure the result; empty: none")
    names: dict[str, str] = Field({}, description="class folder -> class; several folders may have the same class")
    frequencies: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = added_field(
        {},
        description="class or coarser class -> how many times as frequent it is among photographs to classify as among "
        "the images that the network was fitted on; the others are equally frequent",
    )
