"""Model cards: what a model was made of, what was measured, and what it is not good for."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.manifests import ClassifierManifest, ExtractorManifest
from training.recipes.schema import Card

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 -- Markdown from our own recipes, never shown as HTML without escaping
)
_TEMPLATES.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f} %"


def extractor(manifest: ExtractorManifest, card: Card) -> str:
    """The card of an extractor, as Markdown."""
    measured = {name: agreement for name, agreement in manifest.engines.items() if agreement.accuracy}
    tops = [top for top in manifest.tops if any(top in each.accuracy for each in measured.values())]
    return _TEMPLATES.get_template("extractor.md").render(manifest=manifest, card=card, measured=measured, tops=tops)


def classifier(manifest: ClassifierManifest, card: Card) -> str:
    """The card of a classifier, as Markdown."""
    return _TEMPLATES.get_template("classifier.md").render(manifest=manifest, card=card)
