"""Asking a running service whether it is well."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException as HTTPClientError


def check(url: str, timeout_s: float) -> str | None:
    """Why the service at this address, like http://127.0.0.1:8000/readyz, is unhealthy; None when it is well."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a health check never goes through a proxy
    try:
        with opener.open(url, timeout=timeout_s) as reply:
            return None if reply.status == 200 else f"{url}: status {reply.status}"
    except urllib.error.HTTPError as error:
        with error, suppress(ValueError, TypeError, KeyError):
            return f"{url}: {json.loads(error.read(4096))['error']}"
        return f"{url}: status {error.code}"
    except (OSError, ValueError, HTTPClientError) as error:
        return f"{url}: {getattr(error, 'reason', None) or error}"
