"""All that is remembered of one stream, as one thing: bounded, saved, restored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..bundle import Bundle
from ..errors import InputError
from .framing import Framer, Memory
from .results import Results
from .watch import Watch, WatchMemory

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _SavedMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tail: bytes
    run: int
    why: str
    last_time: float
    last_time_ago: int
    late: int


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `StreamState.save` writes, as MessagePack: JSON has no NaN."""

    export_id: str
    memory: _SavedMemory
    watch: WatchMemory
    memories: dict[str, _SavedMemory] = {}


class StreamState:
    """State of one stream, that of a machine or a file: the rows its windows reach back to, and its watch.

    Its size does not grow: window - 1 rows, of each key where there are keys, and a few numbers. Scoring does not
    change it, `accept` does.
    """

    def __init__(self, bundle: Bundle, *, adaptive: bool = False, fdr: float | None = None) -> None:
        self._bundle = bundle
        self.framer = Framer.of(bundle)
        self.watch = Watch(bundle, adaptive=adaptive, fdr=fdr)

    def accept(self, results: Results, framer: Framer, over: NDArray[np.bool_] | None = None) -> Results:
        """Remembers what `score_rows` gave for the next rows; the results with the stream's own verdicts.

        Parameters
        ----------
        over : as in `Watch.see`
        """
        self.framer = framer
        return self.watch.accept(results, over)

    def begin(self) -> None:
        """Another recording of the same machine follows: windows fill anew, the watch goes on."""
        self.framer = Framer.of(self._bundle)

    def save(self) -> bytes:
        """The state, for `restore`."""
        memories = {key: _saved(memory) for key, memory in self.framer.memories.items()}
        saved = _Saved(self._bundle.export_id, _saved(self.framer.memory), self.watch.memory, memories)
        return msgspec.msgpack.encode(saved)

    def restore(self, content: bytes) -> None:
        """Goes on where the state was that `save` wrote.

        Raises
        ------
        InputError
            when it is damaged, or of another model; the state stays as it is
        """
        try:
            saved = msgspec.msgpack.decode(content, type=_Saved)
        except msgspec.MsgspecError as error:
            raise InputError(f"a saved state of a stream is damaged: {error}") from None
        if saved.export_id != self._bundle.export_id:
            raise InputError(
                f"a saved state is of model {saved.export_id}, this is {self._bundle.export_id}; begin the stream anew"
            )
        try:
            memory = self._restored(saved.memory)
            memories = {key: self._restored(each) for key, each in saved.memories.items()}
        except ValueError:
            raise InputError("a saved state of a stream is damaged: its rows have another size") from None
        self.framer = replace(self.framer, memory=memory, memories=memories)
        self.watch.recall(saved.watch)

    def _restored(self, saved: _SavedMemory) -> Memory:
        """Raises ValueError when its rows have another size."""
        tail = np.frombuffer(saved.tail, np.float32).reshape(self.framer.memory.tail.shape)
        return Memory(tail, saved.run, saved.why, saved.last_time, saved.last_time_ago, saved.late)


def _saved(memory: Memory) -> _SavedMemory:
    return _SavedMemory(memory.tail.tobytes(), *memory[1:])
