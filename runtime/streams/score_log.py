"""Scores of the last days on the disk, bounded, so that a threshold can be set anew by them.

A file is a header and records of 16 bytes: a time, a score, and the number of a key. A record whose time is NaN names a
key: in place of the score stands how many bytes its name has, which follows, filled up to whole records. Files are only
appended to; what an accident has left of the last record is cut off.
"""

from __future__ import annotations

import math
import struct
import threading
import time
from collections.abc import Callable, Collection
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InputError, VaeDetectError, of_system
from ..opening import read_whole
from ..output import make_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..scoring.results import Results

MOST_BYTES = 64 << 20
"""On the disk: two files of half of it, of which the older goes when the newer is full."""

DAYS = 7.0
"""How far these bytes are to reach back. Of scores that come faster than that allows some are kept, spread evenly."""

_MAGIC = b"vae-detect score"
_RECORD, _NAME = struct.Struct("<dfI"), struct.Struct("<dII")
_DTYPE = np.dtype([("time", "<f8"), ("score", "<f4"), ("key", "<u4")])
_SIZE = _RECORD.size
_MOST_READ = 1 << 31
_HEADER = 2 * _SIZE
_BUFFER = 64 << 10
_HELD_S = 10.0  # that scores wait at most while others come
_LOOKED_S = 60.0  # how often the share that is kept is decided anew
_GOLDEN = (5**0.5 - 1) / 2


class Logged(NamedTuple):
    """Scores that were logged, one element each, in the order in which they came."""

    times: NDArray[np.float64]
    scores: NDArray[np.float32]
    keys: NDArray[np.int64]
    """Places in `names`."""
    names: list[str]


class ScoreLog:
    """Of one model, NAME.scores and the older NAME.scores.1. Costs about 1 us a row; for several threads.

    Parameters
    ----------
    path : of the newer file
    export_id : of the model; with another one a new file begins
    say : told in a line that something cannot be written, and why; it is lost then, and what follows is tried again
    clock : seconds, of this machine
    """

    def __init__(
        self,
        path: Path,
        export_id: str,
        *,
        say: Callable[[str], object] = lambda text: None,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self._say, self._clock = path, say, clock
        self._header = (_MAGIC + export_id.encode())[:_HEADER].ljust(_HEADER, b"\0")
        self._most = most_bytes // 2
        self._rate = most_bytes / _SIZE / (DAYS * 86_400)
        self._share, self._seen, self._number, self._since = 1.0, 0, 0, clock()
        self._numbers: dict[str, int] = {}
        self._buffer = bytearray()
        self._is_open, self._again = False, -math.inf
        self._flushed = clock()
        self._lock = threading.Lock()

    def add(self, key: str, times: NDArray[np.float64], results: Results) -> None:
        """The scores of the next rows of a machine, at these times (rows,), seconds since 1970."""
        with self._lock:
            if not self._ready():
                return
            for at, score in zip(times.tolist(), results.scores.score.tolist(), strict=True):
                if not math.isnan(score):  # it has a score
                    self._take(key, at, score)
            is_due = len(self._buffer) >= _BUFFER or self._clock() >= self._flushed + _HELD_S
        if is_due:
            self.flush()

    def _take(self, key: str, at: float, score: float) -> None:
        self._seen += 1
        if self._seen % 64 == 0 and (elapsed := self._clock() - self._since) >= _LOOKED_S:
            self._share = min(1.0, self._rate * elapsed / self._seen)
            self._since, self._seen = self._since + elapsed, 0
        if self._share < 1:
            self._number += 1
            if self._number * _GOLDEN % 1 >= self._share:
                return
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers)
            name = key.encode("utf-8", "replace")
            self._buffer += _NAME.pack(math.nan, len(name), number) + name + bytes(-len(name) % _SIZE)
        self._buffer += _RECORD.pack(at, score, number)

    def flush(self) -> None:
        """Writes what is held back."""
        with self._lock:
            self._flushed = self._clock()
            try:
                if self._buffer:
                    self._write()
            except OSError as error:
                self._fail(error)
            self._buffer.clear()

    def _write(self) -> None:
        with self.path.open("r+b") as file:  # not anew, where somebody took it away: it has a header
            if file.read(_HEADER) != self._header:  # that of another version of the model, which goes on here
                self._is_open, self._again = False, math.inf
                return
            file.seek(0, SEEK_END)
            file.write(self._buffer)
            size = file.tell()
        if size > self._most:
            self.path.replace(_older(self.path))
            self._is_open = False

    def _ready(self) -> bool:
        """Whether the file can be appended to; the keys that it names have their numbers then."""
        if not self._is_open and self._clock() >= self._again:
            try:
                self._open()
                self._is_open = True
            except (OSError, InputError) as error:
                self._fail(error)
        return self._is_open

    def _open(self) -> None:
        """Goes on with the file that there is, behind its last whole record, or begins one."""
        make_folder(self.path.parent)
        self._numbers = {}
        content = read_whole(self.path, most=_MOST_READ) if self.path.exists() else b""
        if content.startswith(self._header):
            whole = _parsed(content)
            self._numbers = {name: number for number, name in whole.names.items()}
            with self.path.open("r+b") as file:
                file.truncate(whole.size)
            return
        if content:
            self.path.replace(_older(self.path))
        self.path.write_bytes(self._header)

    def _fail(self, error: OSError | InputError) -> None:
        self._is_open, self._again = False, self._clock() + _LOOKED_S
        told = error if isinstance(error, VaeDetectError) else of_system(error, f"{self.path}: cannot be written")
        self._say(f"{told}; scores are not kept for a minute")


class _Parsed(NamedTuple):
    records: NDArray[Any]
    """Of scores."""
    names: dict[int, str]
    size: int
    """Bytes up to the end of the last whole record."""


def _parsed(content: bytes) -> _Parsed:
    """A file with its header."""
    records = np.frombuffer(content, _DTYPE, count=(len(content) - _HEADER) // _SIZE, offset=_HEADER)
    is_score, names, following = np.ones(len(records), np.bool_), dict[int, str](), 0
    for place in np.flatnonzero(np.isnan(records["time"])).tolist():
        if place < following:  # within a name, of a damaged file: no text in UTF-8 is a NaN
            continue
        _, length, number = _NAME.unpack_from(content, _HEADER + place * _SIZE)
        following = place + 1 - -length // _SIZE
        if following > len(records):
            records, is_score = records[:place], is_score[:place]
            break
        first = _HEADER + (place + 1) * _SIZE
        names[number] = content[first : first + length].decode("utf-8", "replace")
        is_score[place:following] = False
    return _Parsed(records[is_score], names, _HEADER + len(records) * _SIZE)


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def read_scores(path: Path, export_ids: Collection[str]) -> Logged:
    """What a `ScoreLog` has written, of models with one of these ids: those whose scores may be compared.

    Raises
    ------
    InputError
        when there is no such file, or one is damaged
    """
    found, names = list[_Parsed](), dict[str, int]()
    for each in (_older(path), path):
        if not each.exists():
            continue
        content = read_whole(each, most=_MOST_READ)
        if not content.startswith(_MAGIC) or len(content) < _HEADER:
            raise InputError(f"{each}: is no log of scores")
        if content[len(_MAGIC) : _HEADER].rstrip(b"\0").decode("ascii", "replace") in export_ids:
            found.append(_parsed(content))
    keys: list[NDArray[np.int64]] = []
    for part in found:
        table = np.full(max(part.names, default=-1) + 1, -1)
        for number, name in part.names.items():
            table[number] = names.setdefault(name, len(names))
        if len(part.records) and int(part.records["key"].max()) >= len(table):
            raise InputError(f"{path}: is damaged: a score has no key")
        keys.append(table[part.records["key"]])
    records = np.concatenate([np.empty(0, _DTYPE), *(part.records for part in found)])
    order = np.concatenate([np.empty(0, np.int64), *keys])
    return Logged(records["time"], records["score"], order, list(names))
