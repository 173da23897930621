"""`apex serve`: the application with everything in it, on uvicorn."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from apex_tasks.refusal import Refusal
from apex_tasks.settings import ApexSettings
from apex_tasks.web.access import KeyAccess, KeyRing
from apex_tasks.web.app import Access, Prediction, create_app
from apex_tasks.web.middleware.metrics import RequestMetrics
from apex_tasks.web.predictions.inputs import InputSource
from apex_tasks.web.predictions.panel_cache import GIB, PanelCache
from apex_tasks.web.predictions.predictor import Predictor

BACKLOG = 2048
GRACE_SECONDS = 30
"""How long open requests may take after a signal to stop."""

logger = logging.getLogger("apex_tasks.web")


def make_app(
    source: InputSource,
    settings: ApexSettings,
    *,
    use_cache: bool,
    on_first_inputs: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Make the application of `apex serve`.

    Parameters
    ----------
    source
        Bundle and dataset.
    settings
        Settings in force, those of the section `serve` with the command's options applied.
    use_cache
        Keep panels and scores on disk and in memory.
    on_first_inputs
        Called once bundle and dataset are validated, before anything is answered from them.

    Raises
    ------
    Refusal
        The keys cannot be read, or the cache folder is a store.
    """
    serving = settings.serve
    folder = Path(serving.cache_dir) if use_cache else None
    metrics = RequestMetrics()
    cache = None if folder is None else PanelCache(folder, source, int(serving.cache_max_gib * GIB))
    keys = KeyRing(serving)
    if not keys.hashes:
        logger.warning("No API key is configured: only this host is served")
    return create_app(
        lambda: settings,
        Access(callers=KeyAccess(keys), probes=KeyAccess(keys, open_to_this_host=True)),
        source.calendar,
        prediction=Prediction(Predictor(source, cache, metrics, on_first_inputs), folder, metrics),
        limits=serving,
        docs=serving.docs,
    )


def serve(source: InputSource, settings: ApexSettings, *, use_cache: bool) -> None:
    """Serve until a signal stops the process; open requests are answered first.

    Raises
    ------
    Refusal
        As `make_app`, or the address is taken.
    """
    import uvicorn

    _log_to_stderr()
    app = make_app(source, settings, use_cache=use_cache, on_first_inputs=_freeze_gc)
    listening = _listen(settings.serve.host, settings.serve.port)
    host, port = listening.getsockname()[:2]
    logger.info("Listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        backlog=BACKLOG,
        # Whose word on the client's address is taken: a proxy on this host, whatever the environment says.
        forwarded_allow_ips=["127.0.0.1", "::1"],
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def _freeze_gc() -> None:
    """Keep what the libraries have loaded out of every later garbage collection.

    One over all of it stops every request for about 150 ms, and the first used to fall among the first requests.
    """
    gc.collect()
    gc.freeze()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Refusal(
            "the address cannot be listened on",
            expected="an address of this host and a free port",
            received=error.strerror or type(error).__name__,
            where=f"{host}:{port}",
            remedy="End what listens there, or choose another --port or --host.",
        ) from None


def _log_to_stderr() -> None:
    """This server's lines as they are, for the journal adds the time; those of libraries with their level."""
    plain, others = logging.StreamHandler(), logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(message)s"))
    others.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger.handlers[:] = [plain]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logging.getLogger().handlers[:] = [others]
    logging.getLogger("uvicorn").setLevel(logging.INFO)
