"""Words for normal, for anomalous, and for neither."""

from __future__ import annotations

import math
import re

from ...runtime.rows.cells import is_plain

NORMAL_WORDS = frozenset(
    {"false", "no", "n", "f", "off", "normal", "ok", "okay", "good", "healthy", "benign", "nominal", "negative", "pass"}
    | {"passed", "inlier", "regular", "fine", "clear", "none", "no fault", "no failure", "no anomaly", "no attack"}
    | {"false alarm", "false positive", "fp", "normal operation", "baseline", "clean"}
)
FAULT_WORDS = frozenset(
    {"true", "yes", "y", "t", "on", "anomaly", "anomalous", "anomalies", "abnormal", "fault", "faulty", "fail"}
    | {"failed", "failure", "attack", "outlier", "bad", "defect", "defective", "broken", "error", "alarm", "nok", "ng"}
    | {"not ok", "not normal", "positive", "malicious", "novelty", "true alarm", "true positive", "tp", "unhealthy"}
)
_FAULT_FOLDERS = frozenset({"def", "defects", "faults", "crack", "cracks", "scratch", "scratches"})
_NOTHING = frozenset({"", "nan", "na", "n/a", "null", "-", "?", "unknown", "unlabeled", "unlabelled", "not reviewed"})
"""As `word_of` has it."""


def word_of(cell: str) -> str:
    """A label in the one way in which it is compared; a whole number in as few digits as there are.

    >>> word_of(" Normal. "), word_of("False_Alarm"), word_of("1.0"), word_of("-1,0"), word_of("?")
    ('normal', 'false alarm', '1', '-1', '')
    """
    number = number_of(cell)
    if number is not None:
        return str(number).removesuffix(".0")
    text = " ".join(cell.casefold().replace("_", " ").replace(".", " ").split())
    return "" if text in _NOTHING else text


def number_of(cell: str) -> float | None:
    """The number that a cell holds, with a decimal point or comma; None for any other text."""
    try:
        number = float(cell.replace(",", ".")) if is_plain(cell) else float("nan")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def seems_normal(folder: str) -> bool | None:
    """Whether a folder of images is named like normal ones, or like others; None where its name tells neither.

    >>> seems_normal("ok_front"), seems_normal("def_front"), seems_normal("camera1"), seems_normal("not-ok")
    (True, False, None, False)
    """
    words = re.findall(r"[^\W\d_]+", folder.casefold())
    if {*words, " ".join(words)} & (FAULT_WORDS | _FAULT_FOLDERS) or "not" in words:
        return False
    return True if {*words, " ".join(words)} & NORMAL_WORDS else None
