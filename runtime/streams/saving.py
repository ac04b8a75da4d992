"""The state of streams on the disk: a snapshot now and then, and a journal of the samples since.

After an accident the samples of the journal are taken again, which gives the very state that was lost, since scoring is
a pure function of model and rows. The journal is written before an answer leaves: what was answered is remembered.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from ..errors import InputError, VaeDetectError, of_system
from ..output import locked, make_folder, written_aside
from .machines import MachineMemory
from .samples import Sample
from .taken import Kept

LEAST_S = 5.0
"""Seconds, at least, between two snapshots."""

MOST_BYTES_A_SECOND = 200_000
"""On average, of snapshots: a flash card wears out."""

MOST_JOURNAL_BYTES = 16 << 20
"""After which a snapshot is due whatever the time."""

_VERSION = 1
_HEAD = 8  # length and checksum of a record


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of state holds, as MessagePack."""

    version: int
    export_id: str
    journal: int
    """The number of the first journal that it does not hold."""
    machines: list[tuple[str, bytes]]
    """By key, the one that was asked for longest ago first, each as MessagePack: `memory_of` reads it."""
    taken: dict[str, list[Kept]] = {}
    """By source, what was answered lately."""


class Captured(NamedTuple):
    """What is to be saved."""

    export_id: str
    machines: list[tuple[str, bytes]]
    taken: dict[str, list[Kept]]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Samples that were taken together."""

    source: str
    samples: list[tuple[bytes, str, float]]
    """Payload, key, and when they arrived."""


class Saving:
    """Of one model. Files in the folder: NAME.streams, and its journals NAME.journal.1, 2 and so on.

    Parameters
    ----------
    capture : what is to be saved as it is; called while `lock` is held
    say : told in a line that nothing can be saved, and why; tried again with the next snapshot

    Raises
    ------
    InputError
        when another process has this state
    UnavailableError
        when nothing can be written in the folder
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        capture: Callable[[], Captured],
        say: Callable[[str], object],
    ) -> None:
        self._path, self._capture, self._say = folder / f"{name}.streams", capture, say
        self.lock = threading.Lock()
        """Held from when samples are taken until they are in the journal."""
        self._journal: BinaryIO | None = None
        self._number, self._bytes = 1, 0
        self._is_due, self._stopped = threading.Event(), False
        self._problem = ""
        make_folder(folder)
        self._kept = ExitStack()
        self._kept.enter_context(
            locked(self._path, "another serve or stream keeps its state there; give this one another --state")
        )
        self._thread = threading.Thread(target=self._run, name="saving", daemon=True)

    def restore(
        self,
        export_id: str,
        recall: Callable[[Snapshot], object],
        take: Callable[[str, list[Sample]], object],
    ) -> str:
        """Puts the state back that was saved last; what there is to say of it, "" for nothing.

        Parameters
        ----------
        export_id : of the model that is there now
        recall : takes a snapshot
        take : takes the samples of a source again that came after it
        """
        told = ""
        try:
            journals = self._journals()
            self._number = max([number for number, _ in journals], default=0)
            snapshot = self._read(export_id)
            if snapshot is not None:
                recall(snapshot)
            for number, journal in journals:
                if snapshot is not None and number >= snapshot.journal:
                    for entry in _entries(journal):
                        take(entry.source, [Sample(*each) for each in entry.samples])
        except InputError as error:
            told = f"{self._path}: {error}; the streams begin anew"
        except OSError as error:
            raise of_system(error, f"{self._path}: cannot be read") from None
        return told

    def begin(self) -> None:
        """Saves from now on."""
        self._save()
        self._thread.start()

    def taken(self, source: str, samples: Sequence[Sample]) -> None:
        """Remembers samples before their answers leave; `lock` is held."""
        if self._journal is None:
            return
        entry = msgspec.msgpack.encode(
            Entry(source, [(sample.payload, sample.key, sample.arrived) for sample in samples])
        )
        record = len(entry).to_bytes(4, "big") + zlib.crc32(entry).to_bytes(4, "big") + entry
        try:
            if self._journal.write(record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:  # what follows would stand behind half a record, where nobody reads it
            self._journal.close()
            self._journal = None
            self._give_up(of_system(error, f"{self._path}: cannot be written"))
        self._bytes += len(record)
        if self._bytes > MOST_JOURNAL_BYTES:
            self._is_due.set()

    def due(self) -> None:
        """A snapshot is wanted soon, since another model is there."""
        self._is_due.set()

    def close(self) -> None:
        """Saves what there is, and no more."""
        self._stopped = True
        self._is_due.set()
        if self._thread.is_alive():
            self._thread.join()
        self._save()
        with self.lock:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            for _, journal in self._journals():  # it is empty
                journal.unlink(missing_ok=True)
        self._kept.close()

    def _run(self) -> None:
        pause = LEAST_S
        while not self._stopped:
            self._is_due.wait(pause)
            self._is_due.clear()
            if not self._stopped:
                pause = max(LEAST_S, self._save() / MOST_BYTES_A_SECOND)

    def _save(self) -> int:
        """Writes a snapshot; how many bytes it has, 0 where it could not be written."""
        with self.lock:
            captured = self._capture()
            self._number += 1
            number, self._bytes = self._number, 0
            try:
                self._begin_journal(number)
            except OSError as error:
                self._give_up(error)
                return 0
        content = msgspec.msgpack.encode(
            Snapshot(_VERSION, captured.export_id, number, captured.machines, captured.taken)
        )
        try:
            with written_aside(self._path, force=True) as file:
                file.write(content)
            for other, journal in self._journals():
                if other < number:
                    journal.unlink(missing_ok=True)
        except (VaeDetectError, OSError) as error:
            self._give_up(error)
            return 0
        self._problem = ""
        return len(content)

    def _begin_journal(self, number: int) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._journal = self._path.with_suffix(f".journal.{number}").open("wb", buffering=0)

    def _give_up(self, error: Exception) -> None:
        """Until the next snapshot."""
        if str(error) != self._problem:
            self._problem = str(error)
            self._say(f"the state of the streams cannot be saved, and an accident would lose it: {error}")

    def _read(self, export_id: str) -> Snapshot | None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            snapshot = msgspec.msgpack.decode(content, type=Snapshot)
        except msgspec.MsgspecError as error:
            raise InputError(f"is damaged: {error}") from None
        if (snapshot.version, snapshot.export_id) != (_VERSION, export_id):
            raise InputError(f"is of model {snapshot.export_id}, this is {export_id}")
        return snapshot

    def _journals(self) -> list[tuple[int, Path]]:
        found = []
        for path in self._path.parent.glob(f"{escape(self._path.stem)}.journal.*"):
            with suppress(ValueError):
                found.append((int(path.suffix[1:]), path))
        return sorted(found)


def memory_of(content: bytes) -> MachineMemory:
    """A machine of a snapshot. Raises InputError when it is damaged."""
    try:
        return msgspec.msgpack.decode(content, type=MachineMemory)
    except msgspec.MsgspecError as error:
        raise InputError(f"is damaged: {error}") from None


def _entries(path: Path) -> Iterator[Entry]:
    """Those of a journal up to where it is torn."""
    content = path.read_bytes()
    place = 0
    while place + _HEAD <= len(content):
        length, checksum = (int.from_bytes(content[place + at : place + at + 4], "big") for at in (0, 4))
        entry = content[place + _HEAD : place + _HEAD + length]
        place += _HEAD + length
        if len(entry) < length or zlib.crc32(entry) != checksum:
            return
        yield msgspec.msgpack.decode(entry, type=Entry)
