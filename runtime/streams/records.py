"""What is recorded of all machines of a model: the newest rows in memory, scores of the last days on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle import Bundle
from ..errors import InputError
from ..scoring.results import Results
from .capture import Capture
from .score_log import ScoreLog

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NORMAL = "normal"
"""The folder, in that of the state, of what was said to be normal."""


class Records:
    """Of one version of a model.

    Parameters
    ----------
    folder : of the state
    name : of the model
    say : told in a line what cannot be written, and why
    """

    def __init__(self, folder: Path, name: str, bundle: Bundle, say: Callable[[str], object]) -> None:
        self._folder = folder
        self._capture = None if bundle.image is not None else Capture(bundle)
        self._log = ScoreLog(folder / f"{name}.scores", bundle.export_id, say=say)

    def see(self, key: str, times: NDArray[np.float64], rows: NDArray[np.float32], results: Results) -> None:
        """Takes the next rows of a machine, (rows, features), their times (rows,), seconds since 1970, and results."""
        self._log.add(key, times, results)
        if self._capture is not None:
            self._capture.add(key, times, rows)

    def keep_normal(self, key: str, minutes: float) -> Path:
        """Writes the last minutes of a machine as a recording of normal operation.

        Raises InputError when there are none, UnavailableError when they cannot be written.
        """
        if self._capture is None:
            raise InputError("this model looks at images, of which nothing is held")
        return self._capture.write(key, minutes, self._folder / NORMAL)

    def flush(self) -> None:
        """Writes the scores that are held back."""
        self._log.flush()
