"""Who may ask: holders of an API key, or this host itself."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from apex_tasks.refusal import Refusal
from apex_tasks.settings import ServeSettings
from apex_tasks.web.errors import ApiError
from apex_tasks.web.file_fingerprint import Stamp, file_fingerprint

MIN_KEY_LENGTH = 16
NO_KEY_NEEDED: dict[str, Any] = {"security": [{}]}
"""For OpenAPI: a key is one way to be let in, and none is another, as for probes of this host."""
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")
_BEARER = HTTPBearer(auto_error=False, description="The same API key as `Authorization: Bearer`.")
_FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class KeyRing:
    """The API keys of the settings, as hashes.

    Parameters
    ----------
    settings
        Hashes, and the file of keys, which is read again when it changes.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._named = tuple(map(bytes.fromhex, settings.api_key_hashes))
        self._file = None if settings.api_key_file is None else Path(settings.api_key_file)
        self._stamp: Stamp | None = None
        self._read: tuple[bytes, ...] = ()

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """SHA-256 of every key.

        Raises
        ------
        Refusal
            The file of keys cannot be read, holds no key, or one that is too short.
        """
        if self._file is not None and (stamp := file_fingerprint(self._file)) != self._stamp:
            self._read = _keys_of(self._file)
            self._stamp = stamp
        return self._named + self._read

    def knows(self, key: str) -> bool:
        """Whether it is one of the keys; takes as long whichever it is."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = False
        for known in self.hashes:
            found |= hmac.compare_digest(digest, known)
        return found


class KeyAccess:
    """FastAPI dependency that lets holders of a key pass; without any key, this host only.

    Parameters
    ----------
    keys
        The keys.
    open_to_this_host
        This host needs no key, as for probes.
    """

    def __init__(self, keys: KeyRing, *, open_to_this_host: bool = False) -> None:
        self._keys = keys
        self._open_to_this_host = open_to_this_host

    async def __call__(
        self,
        request: Request,
        header: Annotated[str | None, Security(_HEADER)],
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        """Let the request pass.

        Raises
        ------
        ApiError
            401 or 403, with the way to be let in.
        """
        given = header if header is not None else bearer.credentials if bearer is not None else None
        if given is not None and self._keys.knows(given):
            return
        has_keys = bool(self._keys.hashes)
        if is_this_host(request) and (self._open_to_this_host or not has_keys):
            return
        if not has_keys:
            raise ApiError(
                403,
                None,
                "no API key is configured, so only this host is served, by its own name and without a proxy: "
                "set APEX_SERVE__API_KEY_FILE or APEX_SERVE__API_KEY_HASHES",
            )
        reason = "an API key is needed" if given is None else "this API key is not known"
        raise ApiError(401, "X-API-Key", reason, {"WWW-Authenticate": "Bearer"})


class ScraperAccess:
    """FastAPI dependency that lets holders of one token pass; without a token, this host only.

    Parameters
    ----------
    variable
        Environment variable of the token, read at every request.
    """

    def __init__(self, variable: str) -> None:
        self._variable = variable

    async def __call__(self, request: Request) -> None:
        """Let the request pass.

        Raises
        ------
        ApiError
            403, with the way to be let in.
        """
        if token := os.environ.get(self._variable):
            given = request.headers.get("authorization", "")
            allowed = hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
        else:
            allowed = is_this_host(request)
        if not allowed:
            reason = f"metrics are for this host, or for a bearer of the token in {self._variable}"
            raise ApiError(403, None, reason)


def is_this_host(request: Request) -> bool:
    """Whether a process of this host asks, for itself.

    A proxy on this host asks for others, and so does a browser that a foreign page has made to believe that its own
    name means this host; neither uses a local name without a trace.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    name = request.headers.get("host", "").lower()
    host = name if name.endswith("]") else name.rpartition(":")[0] or name
    try:
        return host in _LOCAL_NAMES and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _keys_of(path: Path) -> tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_file(path, "a readable text file, one key a line", type(error).__name__) from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise _bad_file(path, "one key a line", "no key")
    if any(len(key) < MIN_KEY_LENGTH for key in keys):
        raise _bad_file(path, f"keys of at least {MIN_KEY_LENGTH} characters", "a shorter one")
    return tuple(hashlib.sha256(key.encode()).digest() for key in keys)


def _bad_file(path: Path, expected: str, received: str) -> Refusal:
    return Refusal(
        "the file of API keys is not usable",
        expected=expected,
        received=received,
        where=path,
        remedy="Write keys into it, such as `openssl rand -hex 32` gives, readable by the server's user only.",
    )
