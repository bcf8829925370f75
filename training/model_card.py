"""Model cards: what a model was made of, what was measured, and what it is not suitable for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.manifests import CARD_FILE, ClassifierManifest, ExtractorManifest, ManifestT, sha256

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 -- Markdown from our own recipes, never shown as HTML without escaping
)
_TEMPLATES.filters["percent"] = lambda share: "" if share is None else f"{100 * share:.1f} %"


def add_model_card(draft: ManifestT, files: Mapping[str, bytes], version: int) -> tuple[ManifestT, dict[str, bytes]]:
    """Complete an artifact with its version, its model card and the digests of its files.

    Args:
        draft: manifest without these.
        files: all files except the model card.
        version: of the artifact in the store; the model card shows it.
    """
    manifest = draft.model_copy(update={"version": version})
    complete = {**files, CARD_FILE: render_model_card(manifest).encode()}
    digests = {name: sha256(content) for name, content in complete.items()}
    return manifest.model_copy(update={"files": digests}), complete


def render_model_card(manifest: ExtractorManifest | ClassifierManifest) -> str:
    """Return the model card as Markdown. Its prose is the [card] of the recipe in the manifest."""
    card = manifest.recipe["card"]
    if isinstance(manifest, ClassifierManifest):
        return _TEMPLATES.get_template("classifier.md").render(manifest=manifest, card=card)
    measured = {name: agreement for name, agreement in manifest.engines.items() if agreement.accuracy}
    tops = [top for top in manifest.tops if any(top in agreement.accuracy for agreement in measured.values())]
    return _TEMPLATES.get_template("extractor.md").render(manifest=manifest, card=card, measured=measured, tops=tops)
