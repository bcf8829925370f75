"""`GET /v1/models`: what can be asked, and how good it is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.parameters import ModelPath, Version
from app.api.schemas import ModelDetail, ModelList, ModelSummary
from app.errors import BadParameter
from app.inference.service import Service
from app.openapi import examples, responses
from app.openapi.responses import GUARDED, NEEDS_MODELS
from app.state import get_state
from models.classifier import Classifier
from models.errors import ModelNotFound

router = APIRouter(tags=["models"])


@router.get(
    "/v1/models",
    summary="List the models",
    responses={**responses.answer(models=examples.MODELS), **responses.errors("/v1/models", *GUARDED, *NEEDS_MODELS)},
)
async def list_models(request: Request) -> ModelList:
    """Every classifier in every version, by name, the newest version first."""
    service = get_state(request).working_service()
    models = [ModelSummary(**_summary(classifier, service)) for classifier in service.catalog.classifiers]
    return ModelList(models=models)


@router.get(
    "/v1/models/{name}",
    summary="Describe a model",
    responses={
        **responses.answer(model=examples.MODEL),
        **responses.errors("/v1/models/cifar10", *GUARDED, ModelNotFound, BadParameter, *NEEDS_MODELS),
    },
)
async def show_model(request: Request, name: ModelPath, version: Version = None) -> ModelDetail:
    """A classifier's figures on labelled images and its model card."""
    service = get_state(request).working_service()
    classifier = service.catalog.find(name, version)
    return ModelDetail(**_summary(classifier, service), metrics=classifier.manifest.metrics, card=classifier.card)


def _summary(classifier: Classifier, service: Service) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "version": classifier.version,
        "default": classifier is service.default,
        "classes": list(classifier.classes),
        "extractor": classifier.extractor.manifest.name,
    }
