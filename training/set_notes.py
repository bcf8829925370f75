"""Sentences about what had been done with a labelled set before it was measured, for cards, reports and tables."""

from __future__ import annotations

from models.manifests import SetRecord

_USES = {
    "choose.network": "the pass of the network that is kept was chosen on it",
    "choose.int8": "8 bits were accepted for the network because they lose little accuracy on it",
    "choose.tuning": "the parameters of the head were chosen on it",
    "choose.selection": "extractor, preprocessing and head were chosen on it",
    "calibrate.selection": "the temperature was fitted on it",
    "calibrate.head": "the temperature was fitted on it",
}
_FOLDS = (
    "each image was predicted by a head that was fitted neither on it nor on images that look like it; the saved head "
    "was not measured"
)


def set_notes(record: SetRecord | None) -> list[str]:
    """Return the reservations about the figures of a set, the most important first."""
    if record is None:
        return ["not recorded: what else it was used for, and how often it was measured before"]
    notes = [*_about_the_model(record), *_about_fits(record)]
    notes += [_USES.get(use, f"used for: {use}") for use in record.uses]
    return [*notes, _about_measurements(record)]


def is_optimistic(record: SetRecord) -> bool:
    """Return whether the model was fitted on images of the set, or chosen or calibrated on it."""
    return bool(record.fitted_by_head or record.fitted_by_network or record.uses)


def _about_the_model(record: SetRecord) -> list[str]:
    """Say that the figures are of a model that is not the shipped one."""
    if not record.model:
        return []
    if record.model == "folds":
        return [_FOLDS]
    return [f"measured before the {record.model} was fitted again: the one that is saved was not measured"]


def _about_fits(record: SetRecord) -> list[str]:
    notes = []
    fits = ((record.fitted_by_head, "the head"), (record.fitted_by_network, "the network or its initial weights"))
    for number, fitted in fits:
        if number:
            share = "all" if number == record.images else f"{number:,}"
            notes.append(f"optimistic: {fitted} had been fitted on {share} of its {record.images:,} images")
        elif number is None:
            notes.append(f"not recorded: which images {fitted} had been fitted on")
    if record.unrecorded and record.fitted_by_network is not None:
        notes.append(f"not recorded: which images {', '.join(record.unrecorded)} had been fitted on")
    return notes


def _about_measurements(record: SetRecord) -> str:
    if record.measured_before is None:
        return "not recorded: how often it was measured before"
    if not record.measured_before:
        return "no earlier measurement of it is recorded"
    times = "once" if record.measured_before == 1 else f"{record.measured_before} times"
    return f"measured {times} before, by {', '.join(record.measured_by)}"
