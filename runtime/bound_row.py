"""One input in a buffer that stays in place: what a single verdict costs is then little more than the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import graph
from .session import BoundRun, Session


class BoundRow:
    """Buffers for one row and its verdict, bound to the graph once."""

    def __init__(self, session: Session, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.x = np.zeros((1, *shape), dtype)
        self.score = np.zeros(1, np.float32)
        self.p_value = np.zeros(1, np.float32)
        self.is_anomaly = np.zeros(1, np.bool_)
        outputs = {graph.SCORE: self.score, graph.P_VALUE: self.p_value, graph.IS_ANOMALY: self.is_anomaly}
        self.run: BoundRun = session.bind((graph.X, self.x), outputs)
