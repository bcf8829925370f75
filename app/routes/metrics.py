"""`GET /metrics`: Prometheus metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import choose_encoder

from app.state import get_state

router = APIRouter(tags=["health"])


_TEXT = {"schema": {"type": "string"}, "example": 'classifier_requests_total{method="GET"} 1.0\n'}


@router.get(
    "/metrics",
    summary="Read the metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT}}},
)
async def metrics(request: Request) -> Response:
    """Return counters and histograms in the Prometheus text format, or OpenMetrics if `Accept` requests it."""
    state = get_state(request)
    state.metrics.requests_in_flight.set(state.lifecycle.requests_in_flight)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(state.metrics.registry), headers={"Content-Type": content_type})
