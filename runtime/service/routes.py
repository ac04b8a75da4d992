"""The ways to a score, which metrics tell apart."""

from __future__ import annotations

import re

SCORE, INFER, OTHER = "score", "infer", "other"
"""POST /score, POST /v2/models/NAME/infer, and what else may be asked."""

INFER_PATH = re.compile(r"/v2/models/(?P<name>.+?)(?:/versions/(?P<version>[^/]+))?/infer")
"""Where tensors are scored."""


def route_of(path: str) -> str:
    """Which of them a path is.

    >>> route_of("/v2/models/pump/infer")
    'infer'
    """
    return SCORE if path == "/score" else INFER if INFER_PATH.fullmatch(path) else OTHER
