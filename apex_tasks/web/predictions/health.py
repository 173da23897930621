"""`GET /health`: whether a prediction could be made now."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from apex_tasks.refusal import Refusal
from apex_tasks.web.access import NO_KEY_NEEDED
from apex_tasks.web.errors import RETRY_AFTER_SECONDS, ApiError, documented
from apex_tasks.web.predictions.predictor import Predictor


class HealthReport(BaseModel):
    """State of the server."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "reason": None,
                    "bundle_version": "v0.1.0-prod",
                    "bundle_sha256": "5d0f…",
                    "last_session": "2025-10-31",
                    "checks": {"inputs": "ok", "cache": "ok"},
                }
            ]
        },
    )

    status: Literal["ok", "unavailable"]
    reason: str | None = Field(description="Why it is not ok, and what to do.")
    bundle_version: str | None
    bundle_sha256: str | None
    last_session: dt.date | None = Field(description="Newest session that can be predicted.")
    checks: dict[str, str] = Field(description="`inputs`: bundle and dataset, `cache`: ok, or what is wrong.")


def health_router(predictor: Predictor, cache_folder: Path | None, access: Callable[..., Any]) -> APIRouter:
    """The route that a load balancer or a person asks.

    Parameters
    ----------
    predictor
        Whose bundle and dataset are looked at.
    cache_folder
        Folder that must be writable; None: no cache is used.
    access
        Dependency that decides who may ask.
    """
    router = APIRouter(tags=["operation"])

    @router.get(
        "/health",
        summary="Whether a prediction could be made now",
        response_model=HealthReport,
        responses={
            503: {"model": HealthReport, "description": "Bundle, dataset or cache are not usable."},
            **documented(401, 403, 429),
        },
        dependencies=[Depends(access)],
        openapi_extra=NO_KEY_NEEDED,
    )
    async def health() -> Response:
        """200 only when the bundle is validated, the dataset readable and the cache writable.

        Unchanged files are not validated again, so it costs nothing to ask every second.
        """
        report = await _look(predictor, cache_folder)
        if report.status == "ok":
            return JSONResponse(report.model_dump(mode="json"))
        return JSONResponse(
            report.model_dump(mode="json"), 503, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}
        )

    return router


async def _look(predictor: Predictor, cache_folder: Path | None) -> HealthReport:
    checks = {"inputs": "ok", "cache": "ok" if cache_folder is not None else "off"}
    inputs = None
    try:
        inputs = await predictor.inputs()
    except Refusal as refusal:
        checks["inputs"] = str(refusal)
    except ApiError as error:
        checks["inputs"] = str(error.detail)
    if cache_folder is not None and not _is_writable(cache_folder):
        checks["cache"] = f"{cache_folder} cannot be written"
    wrong = [f"{name}: {found}" for name, found in checks.items() if found not in ("ok", "off")]
    return HealthReport(
        status="unavailable" if wrong else "ok",
        reason="; ".join(wrong) or None,
        bundle_version=None if inputs is None else str(inputs.bundle.bundle_version),
        bundle_sha256=None if inputs is None else inputs.bundle.bundle_sha256,
        last_session=None if inputs is None else inputs.sessions[-1],
        checks=checks,
    )


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in it, or it can be made itself."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
