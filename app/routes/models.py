"""`GET /v1/models`: what can be asked, and how good it is."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.problems import documented
from app.schemas import ModelDetail, ModelList, ModelSummary
from app.service import Service
from app.state import ServiceDep
from models.classifier import Classifier

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="List the models", responses=documented(503))
async def list_models(service: ServiceDep) -> ModelList:
    """Every classifier in every version, by name, the newest version first."""
    models = [ModelSummary(**_summary(classifier, service)) for classifier in service.catalog.classifiers]
    return ModelList(models=models)


@router.get("/v1/models/{name}", summary="Describe a model", responses=documented(404, 422, 503))
async def show_model(
    name: str,
    service: ServiceDep,
    version: Annotated[int | None, Query(ge=1, description="by default the newest")] = None,
) -> ModelDetail:
    """A classifier's figures on labelled images and its model card."""
    classifier = service.catalog.find(name, version)
    metrics = {name: figures.model_dump(mode="json") for name, figures in classifier.manifest.metrics.items()}
    return ModelDetail(**_summary(classifier, service), metrics=metrics, card=classifier.card)


def _summary(classifier: Classifier, service: Service) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "version": classifier.version,
        "default": classifier is service.default,
        "classes": list(classifier.classes),
        "extractor": classifier.extractor.manifest.name,
    }
