"""The client of MQTT: paho, but for what comes and goes a thousand times a second."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from paho.mqtt.client import Client as PahoClient
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from .buffered_socket import BufferedSocket

PUBLISH, PUBACK = 0x30, 0x40
FAILURE = 0x80
"""From which number on a broker's reason says that it did not do it."""


class Message(NamedTuple):
    """That has come."""

    topic: bytes
    payload: bytes
    mid: int
    """By which it is acknowledged; 0 where it need not be."""
    retained: bool
    repeated: bool


class Traffic(Protocol):
    """What is done over a connection; all of it is called by the thread of the connection."""

    def connected(self, client: PahoClient, *, is_known: bool, limit: int) -> None:
        """The broker remembers us, or not, and takes so many messages at once."""
        ...

    def message(self, message: Message) -> None:
        """A message has come."""
        ...

    def published(self, mid: int, problem: str) -> None:
        """The broker has taken a message, or says why not."""
        ...

    def turn(self) -> None:
        """After what came together was read, and after `wake`: publishes and acknowledges what waits."""
        ...

    def is_full(self) -> bool:
        """Whether nothing more should come before something is acknowledged."""
        ...

    def can_read(self) -> bool:
        """Whether what comes can be taken. Brokers are known that send more than they were told."""
        ...


class Client(PahoClient):
    """Reads the packets that come a thousand times a second itself: paho takes 50 us for each.

    What is published, which `Link` writes, is none of its business either: `Traffic` sends it again where it must be.
    """

    def __init__(self, traffic: Traffic, client_id: str) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True)
        self._traffic = traffic

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())  # type: ignore[arg-type]

    def _packet_read(self) -> MQTTErrorCode:
        sock = self._sock
        if self._in_packet["command"] == 0 and isinstance(sock, BufferedSocket):
            packet = sock.packet()
            if packet is not None and self._is_taken(*packet):
                sock.skip()
                return MQTTErrorCode.MQTT_ERR_SUCCESS
        return super()._packet_read()

    def _is_taken(self, command: int, body: bytes) -> bool:
        """Whether it was a message, or the broker's word for one of ours, that says nothing more."""
        if command == PUBACK and len(body) >= 2:
            reason = body[2] if len(body) > 2 else 0
            self._traffic.published(int.from_bytes(body[:2], "big"), _told(reason) if reason >= FAILURE else "")
            return True
        qos = command >> 1 & 3
        if command & 0xF0 != PUBLISH or qos > 1 or len(body) < 5:
            return False
        end = 2 + int.from_bytes(body[:2], "big")
        properties = end + 2 * qos
        if properties >= len(body) or body[properties] != 0:
            return False
        mid = int.from_bytes(body[end:properties], "big")
        self._traffic.message(Message(body[2:end], body[properties + 1 :], mid, bool(command & 1), bool(command & 8)))
        return True


def _told(reason: int) -> str:
    """In words, why a broker does not take a message."""
    try:
        return str(ReasonCode(PacketTypes.PUBACK, identifier=reason))
    except KeyError:
        return f"reason {reason:#x}"
