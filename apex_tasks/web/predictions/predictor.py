"""Predictions: from memory at once, else from disk, else computed once for all who wait."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from cachetools import LRUCache

from apex_tasks.dataset.schema import CODE
from apex_tasks.portfolio.selection import SCORE, ranked_scores
from apex_tasks.refusal import Refusal
from apex_tasks.web.errors import RETRY_AFTER_SECONDS, ApiError
from apex_tasks.web.middleware.metrics import RequestMetrics
from apex_tasks.web.predictions.inputs import InputSource, ServedInputs
from apex_tasks.web.predictions.panel_cache import CachedScores, InputsChanged, PanelCache
from apex_tasks.web.predictions.schema import MAX_TOP_K, PredictionQuery, PredictionReply, RankedStock
from apex_tasks.web.predictions.single_flight import SingleFlight

MEMORY_SESSIONS = 128
MEMORY_REPLY_BYTES = 32 << 20
MAX_QUEUED_BUILDS = 32
REFUSED_SECONDS = 5.0
"""How long a refusal of unchanged files holds: what they need beside them may be repaired."""
ATTEMPTS = 3
UNBOUNDED = 1 << 62

logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
Best = tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class RankedSession:
    """The best `MAX_TOP_K` codes and scores of a session per horizon, best first."""

    best: dict[int, Best]
    next_session: dt.date
    warnings: tuple[str, ...]
    synthetic: bool
    cached: bool


class Predictor:
    """Predictions of one bundle on one dataset, both of which may be replaced while it runs.

    Parameters
    ----------
    source
        Bundle and dataset.
    cache
        Panels and scores on disk; None: each request computes its own, and nothing stays on disk.
    metrics
        Where hits and builds are counted.
    on_first_inputs
        Called once, in a thread, before the first inputs are used.
    """

    def __init__(
        self,
        source: InputSource,
        cache: PanelCache | None,
        metrics: RequestMetrics,
        on_first_inputs: Callable[[], None] = lambda: None,
    ) -> None:
        self.source = source
        self._settings = source.settings
        self._cache = cache
        self._metrics = metrics
        self._on_first_inputs = on_first_inputs
        self._current: ServedInputs | None = None
        self._refused: tuple[object, float, Refusal] | None = None
        self._reading: SingleFlight[ServedInputs] = SingleFlight()
        self._scoring: SingleFlight[RankedSession] = SingleFlight()
        self._one_build = asyncio.Lock()
        self._queued = 0
        self._sessions: LRUCache[Hashable, RankedSession] = LRUCache(MEMORY_SESSIONS)
        self._replies: LRUCache[Hashable, bytes] = LRUCache(MEMORY_REPLY_BYTES, getsizeof=len)

    def prepare(self) -> None:
        """Check bundle and dataset in the background, so that the first request need not wait for it."""
        stamp = self.source.stamp()
        self._preparing = asyncio.ensure_future(self._reading.result(stamp, lambda: self._read(stamp)))
        self._preparing.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def inputs(self) -> ServedInputs:
        """Bundle and dataset as they are now.

        Raises
        ------
        Refusal
            Either is refused.
        ApiError
            503 when their check takes too long; it goes on.
        """
        stamp = self.source.stamp()
        if self._current is not None and self._current.stamp == stamp:
            return self._current
        if self._refused is not None:
            refused_stamp, moment, refusal = self._refused
            if refused_stamp == stamp and time.monotonic() - moment < REFUSED_SECONDS:
                raise refusal.with_traceback(None)  # else it grows with every request
        return await self._in_time(
            self._reading.result(stamp, lambda: self._read(stamp)), "inputs are checked"
        )

    async def predict(self, query: PredictionQuery) -> bytes:
        """Reply to a query, as JSON.

        Raises
        ------
        Refusal
            Bundle or dataset are refused.
        ApiError
            422 for what they cannot answer, 503 when it takes too long.
        """
        for _ in range(ATTEMPTS):
            try:
                return await self._predict(await self.inputs(), query)
            except InputsChanged:
                logger.info("The dataset was replaced during a prediction, which starts again")
        raise ApiError(503, None, "the dataset keeps changing", {"Retry-After": str(RETRY_AFTER_SECONDS)})

    async def _predict(self, inputs: ServedInputs, query: PredictionQuery) -> bytes:
        day, horizon = _asked_day(inputs, query), self._asked_horizon(inputs, query)
        top_k = self._settings.ranking.top_k if query.top_k is None else query.top_k
        if self._cache is None:
            alone = object()  # a key that nobody shares
            ranked = await self._scored(alone, inputs, day)
            return _reply(inputs, ranked, day, horizon, top_k, cached=False)
        if (reply := self._replies.get((inputs, day, horizon, top_k, True))) is not None:
            self._metrics.predicted("memory")
            return reply
        kept = self._sessions.get((inputs, day))
        if kept is not None:
            self._metrics.predicted("memory")
        ranked = kept or await self._scored((inputs, day), inputs, day)
        reply_key = (inputs, day, horizon, top_k, kept is not None or ranked.cached)
        reply = self._replies.get(reply_key)
        if reply is None:
            reply = _reply(inputs, ranked, day, horizon, top_k, cached=reply_key[-1])
            if inputs is self._current:
                self._replies[reply_key] = reply
        return reply

    def _asked_horizon(self, inputs: ServedInputs, query: PredictionQuery) -> int:
        horizons = inputs.bundle.model.horizons
        horizon = self._settings.ranking.horizon if query.horizon is None else query.horizon
        if horizon not in horizons:
            raise ApiError(
                422, "horizon", f"the model has no such horizon, only {', '.join(map(str, horizons))}"
            )
        return horizon

    async def _read(self, stamp: object) -> ServedInputs:
        try:
            inputs = await asyncio.to_thread(self._read_source)
        except Refusal as refusal:
            logger.warning("REFUSED %s", refusal)
            self._refused = (stamp, time.monotonic(), refusal)
            raise
        if self._current is None or inputs.stamp != self._current.stamp:
            default = await asyncio.to_thread(self._stored_default, inputs)
            if self._current is None:
                await asyncio.to_thread(self._on_first_inputs)
            self._current = inputs
            self._refused = None
            self._replies.clear()
            self._sessions.clear()
            if default is not None:
                self._sessions[inputs, inputs.default] = default
            logger.info(
                "Serving bundle %s, dataset %s up to %s",
                inputs.bundle.bundle_sha256,
                inputs.dataset.sha256,
                inputs.last_day,
            )
        return inputs

    def _read_source(self) -> ServedInputs:
        try:
            return self.source.read()
        except (OSError, pa.ArrowException) as error:
            raise Refusal(
                "bundle or dataset cannot be read",
                expected="readable files",
                received=str(error).splitlines()[0] if str(error) else type(error).__name__,
                where=getattr(error, "filename", None) or self.source.dataset,
                remedy="Look at the disk and the permissions of both.",
            ) from error

    def _stored_default(self, inputs: ServedInputs) -> RankedSession | None:
        """What most will ask for, from disk: after a restart the first of them then need not wait for it."""
        if self._cache is None or inputs.default is None:
            return None
        try:
            found = self._cache.find(inputs, inputs.default)
        except Refusal as refusal:
            logger.warning("REFUSED %s", refusal)
            return None
        return None if found is None else self._rank(inputs, found, inputs.default)

    async def _scored(self, key: Hashable, inputs: ServedInputs, day: dt.date) -> RankedSession:
        scoring = self._scoring.result(key, lambda: self._score(key, inputs, day))
        ranked = await self._in_time(scoring, "prediction is computed")
        self._metrics.predicted("disk" if ranked.cached else "built")
        return ranked

    async def _score(self, key: Hashable, inputs: ServedInputs, day: dt.date) -> RankedSession:
        if self._cache is None:
            found = await self._build(key, lambda: self._build_alone(inputs, day))
        else:
            cache = self._cache
            stored = await asyncio.to_thread(cache.find, inputs, day)
            found = stored or await self._build(key, lambda: cache.build(inputs, day))
        ranked = await asyncio.to_thread(self._rank, inputs, found, day)
        if inputs is self._current and self._cache is not None:
            self._sessions[key] = ranked
        return ranked

    def _build_alone(self, inputs: ServedInputs, day: dt.date) -> CachedScores:
        with tempfile.TemporaryDirectory(prefix="apex-serve-") as folder:
            return PanelCache(Path(folder), self.source, max_bytes=UNBOUNDED).build(inputs, day)

    async def _build(self, key: Hashable, compute: Callable[[], CachedScores]) -> CachedScores:
        """One build at a time: each takes all cores and the memory of a panel."""
        if self._queued >= MAX_QUEUED_BUILDS:
            raise ApiError(
                503, None, "too many sessions wait to be computed", {"Retry-After": str(RETRY_AFTER_SECONDS)}
            )
        self._queued += 1
        try:
            async with self._one_build:
                if not self._scoring.has_waiters(key):
                    raise asyncio.CancelledError("nobody waits for it any more")
                with self._metrics.building():
                    return await asyncio.to_thread(compute)
        finally:
            self._queued -= 1

    def _rank(self, inputs: ServedInputs, found: CachedScores, day: dt.date) -> RankedSession:
        best: dict[int, Best] = {}
        for horizon in inputs.bundle.model.horizons:
            table = ranked_scores(found.forecasts, horizon, inputs.bundle.signs[horizon]).head(MAX_TOP_K)
            best[horizon] = tuple(zip(table[CODE].tolist(), table[SCORE].tolist(), strict=True))
        return RankedSession(
            best=best,
            next_session=self.source.calendar.next_session(day),
            warnings=(*inputs.bundle.warnings, *found.panel.warnings),
            synthetic=inputs.bundle.synthetic or found.panel.synthetic,
            cached=found.cached,
        )

    async def _in_time(self, work: Awaitable[_Result], what: str) -> _Result:
        seconds = self._settings.serve.request_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise ApiError(
                503,
                None,
                f"not ready within {seconds:g} s: the {what}, so ask again",
                {"Retry-After": str(RETRY_AFTER_SECONDS)},
            ) from None


def _asked_day(inputs: ServedInputs, query: PredictionQuery) -> dt.date:
    if query.date is None:
        if inputs.default is None:
            raise ApiError(
                422, "date", "none of the dataset's newest sessions is complete, so a date must be named"
            )
        return inputs.default
    if query.date not in inputs.available:
        raise ApiError(
            422,
            "date",
            f"not a session that can be predicted: there are {len(inputs.sessions)} of them from "
            f"{inputs.sessions[0]} to {inputs.sessions[-1]}, which GET /available-dates lists",
        )
    return query.date


def _reply(
    inputs: ServedInputs, ranked: RankedSession, day: dt.date, horizon: int, top_k: int, *, cached: bool
) -> bytes:
    best = ranked.best[horizon][:top_k]
    return (
        PredictionReply(
            date=day,
            next_session=ranked.next_session,
            horizon=horizon,
            top_k=top_k,
            predictions=tuple(
                RankedStock(rank=number, code=code, score=score)
                for number, (code, score) in enumerate(best, start=1)
            ),
            warnings=ranked.warnings,
            bundle_sha256=inputs.bundle.bundle_sha256,
            bundle_version=None
            if inputs.bundle.bundle_version is None
            else str(inputs.bundle.bundle_version),
            dataset_sha256=inputs.dataset.sha256,
            cached=cached,
            synthetic=ranked.synthetic,
        )
        .model_dump_json()
        .encode()
    )
