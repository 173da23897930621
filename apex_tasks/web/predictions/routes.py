"""`POST /predict` and `GET /available-dates`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from apex_tasks.web.errors import documented
from apex_tasks.web.predictions.predictor import Predictor
from apex_tasks.web.predictions.schema import AvailableDates, PredictionQuery, PredictionReply


def prediction_router(predictor: Predictor, access: Callable[..., Any]) -> APIRouter:
    """Routes of predictions.

    Parameters
    ----------
    predictor
        Answers them.
    access
        Dependency that decides who may ask.
    """
    router = APIRouter(tags=["predictions"], dependencies=[Depends(access)])

    @router.post(
        "/predict",
        summary="Rank the market",
        response_model=PredictionReply,
        responses=documented(400, 401, 403, 408, 413, 422, 429, 503),
    )
    async def predict(query: PredictionQuery) -> Response:
        """The best stocks of one session.

        The first query of a session builds its panel and scores it, which takes a while; those that come meanwhile
        wait for the same build. Later ones are answered from memory, after a restart from disk.
        """
        return Response(await predictor.predict(query), media_type="application/json")

    @router.get(
        "/available-dates",
        summary="Sessions that can be predicted",
        response_model=AvailableDates,
        responses=documented(401, 403, 429, 503),
    )
    async def available_dates() -> AvailableDates:
        """The dataset's TSE sessions on which enough stocks have a full window of history."""
        inputs = await predictor.inputs()
        return AvailableDates(
            dates=inputs.sessions, first=inputs.sessions[0], last=inputs.sessions[-1], default=inputs.default
        )

    return router
