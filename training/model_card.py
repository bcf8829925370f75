"""Model cards: what a model was made of, what was measured, and what it is not suitable for."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.artifacts.atomic_write import exclusive_lock, write_atomically
from models.artifacts.store import MANIFEST_FILE, Artifact
from models.manifests import CARD_FILE, ClassifierManifest, ExtractorManifest, ManifestT, render, sha256
from training.set_notes import set_notes

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 -- Markdown from our own recipes, never shown as HTML without escaping
)
_TEMPLATES.filters["notes"] = set_notes
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


def render_again(artifact: Artifact[ManifestT], manifest: ManifestT, more: Mapping[str, bytes]) -> Artifact[ManifestT]:
    """Replace the model card of an artifact, and let its manifest record more; its version and other files stay.

    Args:
        artifact: in its store; all its files are verified first.
        manifest: its manifest, with what it records in addition.
        more: files that the artifact does not have yet.

    Raises:
        CorruptArtifact: a file of the artifact was changed.
    """
    kept = {name: artifact.read(name) for name in artifact.manifest.files if name != CARD_FILE}
    complete, files = add_model_card(manifest, {**kept, **more}, artifact.manifest.version)
    folder = artifact.folder
    with exclusive_lock(folder.parent):
        replaced = Path(tempfile.mkdtemp(prefix=".replaced-", dir=folder.parent))
        folder.rename(replaced / folder.name)
        write_atomically(folder, {**files, MANIFEST_FILE: render(complete)})
        shutil.rmtree(replaced)
    return Artifact(folder, complete)


def render_model_card(manifest: ExtractorManifest | ClassifierManifest) -> str:
    """Return the model card as Markdown. Its prose is the [card] of the recipe in the manifest."""
    card = manifest.recipe["card"]
    if isinstance(manifest, ClassifierManifest):
        return _TEMPLATES.get_template("classifier.md").render(manifest=manifest, card=card)
    measured = {name: agreement for name, agreement in manifest.engines.items() if agreement.accuracy}
    tops = [top for top in manifest.tops if any(top in agreement.accuracy for agreement in measured.values())]
    return _TEMPLATES.get_template("extractor.md").render(manifest=manifest, card=card, measured=measured, tops=tops)
