"""Which columns hold directions, of which 0 and 360 degrees are the same."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIRECTIONS = ("direction", "heading", "azimut", "richtung", "winkel", "angle", "peilung", "direcci")
"""Parts of headers that name directions."""

_SHORT = frozenset({"yaw", "dir", "wdir", "winddir", "wd", "cog", "kurs", "gier", "wa", "ya", "windbearing", "course"})
"""Words of headers that do."""

_OTHERS = (
    *("temp", "thermo", "celsius", "crank", "kurbel", "camshaft", "valve", "ventil", "damper", "klappe", "throttle"),
    *("drossel", "opening", "latitude", "rate", "speed", "veloc", "geschw", "torque", "power", "pressure", "druck"),
    *("current", "voltage", "vibration", "std", "stdev", "deviation"),
)
"""Parts of headers whose columns are no directions, whatever else they say."""

_DEGREES = re.compile(r"(°|deg\.?|degrees?|grad) ?(from )?(n|north|t|true|true north|mag)?", re.IGNORECASE)
_RADIANS = re.compile(r"rad|radians?", re.IGNORECASE)

_BEYOND, _NEAR = 1 / 360, 0.05
"""Parts of a turn: by how much readings may lie outside of it, and what is near to an end."""

_LEAST_CROSSINGS = 3
"""How often, in each direction, a column without a name must go from one end to the other."""

Ends = tuple[float, float]
"""The two readings, a turn apart, that are the same direction."""


def find_angle(name: str, unit: str, cells: NDArray[np.float64]) -> Ends | None:
    """The ends of a column (rows,) that holds directions by its header and values, or evidently by its values.

    Named directions must reach over half a turn; what has only the unit, which furnaces have too, must come near to
    both ends. Without either, neighbouring rows must often go from one end to the other and back, and else go slowly.
    """
    words = re.findall(r"[a-zäöü]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    if any(part in word for part in _OTHERS for word in words):
        return None
    is_unit = bool(_DEGREES.fullmatch(unit) or _RADIANS.fullmatch(unit))
    if unit and not is_unit:
        return None
    ends = choose_ends(unit, cells)
    turn = ends[1] - ends[0]
    if cells.min() < ends[0] - _BEYOND * turn or cells.max() > ends[1] + _BEYOND * turn:
        return None
    low, high = np.quantile(cells, (0.01, 0.99))
    is_named = any(part in word for part in _DIRECTIONS for word in words) or not _SHORT.isdisjoint(words)
    if is_named and high - low >= turn / 2:
        return ends
    if is_unit and low < ends[0] + _NEAR * turn and high > ends[1] - _NEAR * turn:
        return ends
    return ends if _crosses(cells, ends) else None


def choose_ends(unit: str, cells: NDArray[np.float64]) -> Ends:
    """The ends of a column (rows,) of directions: degrees, or radians where unit or values say so."""
    half_turns = np.ptp(cells) / math.pi
    looks_like_radians = np.abs(cells).max() <= 2 * math.pi + 1e-3 and half_turns > 1 and bool(np.any(cells % 1))
    in_radians = _RADIANS.fullmatch(unit) or (not _DEGREES.fullmatch(unit) and looks_like_radians)
    turn = 2 * math.pi if in_radians else 360.0
    return (-turn / 2, turn / 2) if cells.min() < -_BEYOND * turn else (0.0, turn)


def _crosses(cells: NDArray[np.float64], ends: Ends) -> bool:
    """Whether neighbouring rows go from one end to the other and back, all the rest of the circle in small steps."""
    turn = ends[1] - ends[0]
    share = (cells - ends[0]) / turn
    quarters = np.bincount(np.clip(share * 4, 0, 3).astype(np.int64), minlength=4)
    if share.min() > _NEAR or share.max() < 1 - _NEAR or quarters.min() < 0.02 * len(cells):
        return False
    steps = np.diff(share)
    up, down = int((steps > 0.75).sum()), int((steps < -0.75).sum())
    between = int(((np.abs(steps) > 0.25) & (np.abs(steps) <= 0.75)).sum())
    return min(up, down) >= _LEAST_CROSSINGS and 2 * between < up + down
