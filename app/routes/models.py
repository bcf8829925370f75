"""`GET /v1/models`: the available models and their accuracy."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from app.api.checked_route import CheckedRoute
from app.api.parameters import ModelPath, Version
from app.api.schemas import ModelDetail, ModelList, ModelSummary
from app.errors import BadParameter
from app.inference.model_loading import LoadedModels
from app.openapi import examples, responses
from app.openapi.responses import AUTH_ERRORS, READINESS_ERRORS
from app.state import get_state
from models.classifier import Classifier
from models.errors import ModelNotFound

router = APIRouter(tags=["models"], route_class=CheckedRoute)


@router.get(
    "/v1/models",
    summary="List the models",
    responses={
        **responses.success(models=examples.MODELS),
        **responses.error_responses("/v1/models", *AUTH_ERRORS, BadParameter, *READINESS_ERRORS),
    },
)
async def list_models(request: Request) -> ModelList:
    """List all versions of all classifiers, by name, newest version first."""
    models = get_state(request).ready_service().models
    return ModelList(models=[ModelSummary(**_summary(model, models)) for model in models.catalog.classifiers])


@router.get(
    "/v1/models/{name}",
    summary="Describe a model",
    responses={
        **responses.success(model=examples.MODEL),
        **responses.error_responses("/v1/models/cifar10", *AUTH_ERRORS, ModelNotFound, BadParameter, *READINESS_ERRORS),
    },
)
async def show_model(request: Request, name: ModelPath, version: Version = None) -> ModelDetail:
    """Return the metrics and the model card of a classifier."""
    models = get_state(request).ready_service().models
    model = models.catalog.find(name, version)
    return ModelDetail(**_summary(model, models), metrics=model.manifest.metrics, card=model.card)


def _summary(classifier: Classifier, models: LoadedModels) -> dict[str, Any]:
    return {
        "name": classifier.name,
        "version": classifier.version,
        "default": classifier is models.default,
        "classes": list(classifier.classes),
        "extractor": classifier.extractor.manifest.name,
    }
