"""A connection to an MQTT broker that lasts: made again for ever, and served by one thread of its own."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from ..errors import first_line
from .addresses import Broker
from .backoff import Backoff
from .buffered_socket import BufferedSocket
from .login import Login
from .mqtt_client import FAILURE, PUBACK, PUBLISH, Client, Message, Traffic

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage
    from paho.mqtt.reasoncodes import ReasonCode

KEEPALIVE_S = 20
CONNECT_S = 4.0
"""For a connection, and for the broker's word that it is welcome."""
STEADY_S = 5.0
"""A connection that lasted so long was a success."""
MOST_IN_FLIGHT = 100
"""Messages of QoS 1 on their way in one direction."""
_PUBACK_HEAD = bytes([PUBACK, 2])
_IDLE_MS = 500
_TAKEN_OVER = 0x8E


class Link:
    """One connection.

    Parameters
    ----------
    client_id : by which the broker knows its session
    session_s : how long the broker keeps it while we are away; 0 for no longer than a connection
    gather_s : messages that come within this time are read together
    say : tells an operator what happens
    """

    def __init__(
        self,
        broker: Broker,
        login: Login,
        traffic: Traffic,
        *,
        client_id: str,
        session_s: int = 0,
        gather_s: float = 0.005,
        say: Callable[[str], object],
    ) -> None:
        self.broker, self.client_id = broker, client_id
        self._traffic, self._say, self._gather_s = traffic, say, gather_s
        self.is_connected = False
        self._stopped = threading.Event()
        self._backoff = Backoff(self._stopped)
        self._refused = self._told = ""
        self._lost_at = 0.0
        self._mid = 0
        self._woken = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._client = self._made(login, session_s)
        self.is_started = False
        self._thread = threading.Thread(target=self._run, name=f"mqtt {broker.server}", daemon=True)

    def start(self) -> None:
        """Connects, and goes on to."""
        self.is_started = True
        self._thread.start()

    def wake(self) -> None:
        """`Traffic.turn` is called soon. From any thread."""
        if not self._woken:
            self._woken = True
            with suppress(OSError):
                os.write(self._wake_write, b"\0")

    def leave(self) -> None:
        """Disconnects, soon. From any thread."""
        self._stopped.set()
        self._woken = False
        self.wake()

    def join(self, timeout_s: float) -> None:
        """Waits until the connection is left. From any thread but its own."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Sends a message of QoS 1; the number that `Traffic.published` tells of it. By `Traffic.turn` only."""
        self._mid = self._mid % 0xFFFF + 1
        name = topic.encode()
        rest = len(name) + len(payload) + 5
        packet = bytearray([PUBLISH | 2 | retain])
        while rest > 127:
            packet.append(rest & 127 | 128)
            rest >>= 7
        packet.append(rest)
        packet += len(name).to_bytes(2, "big") + name + self._mid.to_bytes(2, "big") + b"\0" + payload
        sock = self._socket()
        if sock is not None:
            sock.send(packet)
        return self._mid

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Tells the broker that these messages need not come again. By `Traffic` only."""
        sock = self._socket()
        if sock is not None:
            sock.send(b"".join(_PUBACK_HEAD + mid.to_bytes(2, "big") for mid in mids))

    def break_off(self, why: str) -> None:
        """Ends this connection, and tries again later. By `Traffic` only."""
        self._refused = why

    def _made(self, login: Login, session_s: int) -> Client:
        client = Client(self._traffic, self.client_id)
        client.connect_timeout = CONNECT_S
        if self.broker.is_encrypted:
            client.tls_set_context(login.trust())
        user = self.broker.user or login.user
        if user or login.password is not None:
            client.username_pw_set(user or None, login.password)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_register_write = lambda *_: None  # so that nothing is written but by our thread
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = session_s
        properties.ReceiveMaximum = MOST_IN_FLIGHT
        client.connect_async(
            self.broker.host, self.broker.port, KEEPALIVE_S, clean_start=session_s == 0, properties=properties
        )
        return client

    # The thread of the connection

    def _run(self) -> None:
        while not self._stopped.is_set():
            is_closed = False
            self._refused = ""
            try:
                self._client.reconnect()
            except OSError as error:
                self._tell_away(f"cannot be reached: {error.strerror or first_line(error)}")
                is_closed = True
            else:
                self._serve()
            if not self._stopped.is_set():
                self._backoff.wait(*((self.broker.host, self.broker.port) if is_closed else ()))

    def _serve(self) -> None:
        """Until the connection is lost, or we are stopped."""
        began = time.monotonic()
        sock = self._socket()
        assert sock is not None
        poller = select.poll()
        poller.register(self._wake_read, select.POLLIN)
        poller.register(sock.fileno(), select.POLLIN)
        next_look = 0.0
        try:
            while not self._stopped.is_set() and self._socket() is sock:
                is_sent = self._write(sock)
                if self._socket() is not sock:
                    break
                can_read = self._traffic.can_read()
                wanted = (select.POLLIN if can_read else 0) | (0 if is_sent else select.POLLOUT)
                poller.modify(sock.fileno(), wanted)
                if can_read and sock.pending():
                    self._read(sock)
                for descriptor, events in poller.poll(0 if can_read and sock.pending() else _IDLE_MS):
                    if descriptor == self._wake_read:
                        with suppress(OSError):
                            os.read(self._wake_read, 4096)
                        self._woken = False  # after that: who wakes us from here on writes again
                    elif events & ~select.POLLOUT:
                        self._read(sock)
                if (now := time.monotonic()) >= next_look:
                    next_look = now + 1
                    self._client.loop_misc()
                    if not self.is_connected and now - began > CONNECT_S:
                        self._refused = "does not answer as a broker"
                        break
                if self.is_connected:
                    self._traffic.turn()
                if self._refused:
                    break
        except OSError as error:
            self._refused = first_line(error)
        self._end(began)

    def _socket(self) -> BufferedSocket | None:
        sock = self._client.socket()
        assert sock is None or isinstance(sock, BufferedSocket)
        return sock

    def _write(self, sock: BufferedSocket) -> bool:
        """Whether nothing is left to be sent."""
        while self._client.want_write() and self._socket() is sock:
            self._client.loop_write()
            if not sock.flush():
                return False
        return sock.flush() and not self._client.want_write()

    def _read(self, sock: BufferedSocket) -> None:
        """Reads what there is; what comes shortly after the first is waited for, to be read with it."""
        if self._gather_s and not self._traffic.is_full():
            end, there = time.monotonic() + self._gather_s, sock.arrived()
            while time.monotonic() < end:
                time.sleep(min(0.005, self._gather_s))
                more = sock.arrived()
                if more == there:
                    break
                there = more
        self._client.loop_read()
        while self._socket() is sock and sock.pending() and self._traffic.can_read():
            self._client.loop_read()

    def _end(self, began: float) -> None:
        was_connected, self.is_connected = self.is_connected, False
        self._client.disconnect()  # of a connection that is lost already, only a note
        if (sock := self._socket()) is not None:
            with suppress(OSError):
                self._write(sock)
        if self._stopped.is_set():
            return
        lost = "the connection is lost"
        if was_connected and time.monotonic() - began > STEADY_S:
            self._backoff.reset()
        elif was_connected:  # not every broker says so
            lost += f" soon after it was made; if another client is called {self.client_id!r}, name this by --client-id"
        self._tell_away(self._refused or lost)

    def _tell_away(self, why: str) -> None:
        """Once, and again only when the reason changes."""
        self._lost_at = self._lost_at or time.monotonic()
        if why != self._told:
            self._told = why
            self._say(f"{self.broker.server}: {why}; trying again")

    # What paho calls

    def _on_connect(self, client: Any, _data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            self._refused = f"refuses the connection: {reason}"
            return
        limit = min(MOST_IN_FLIGHT, getattr(properties, "ReceiveMaximum", MOST_IN_FLIGHT))
        self.is_connected = True
        if self._lost_at:
            self._say(f"{self.broker.server}: connected again after {time.monotonic() - self._lost_at:.0f} s")
            self._lost_at, self._told = 0.0, ""
        self._traffic.connected(client, is_known=flags.session_present, limit=limit)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if not flags.is_disconnect_packet_from_server:
            return
        self._refused = f"ends the connection: {reason}"
        if reason.value == _TAKEN_OVER:
            self._refused = f"another client is called {self.client_id!r} too; give each its own name by --client-id"

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if any(reason.value >= FAILURE for reason in reasons):
            self._refused = f"does not let us subscribe to {self.broker.filter!r}: {reasons[0]}"

    def _on_message(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        mid = message.mid if message.qos else 0
        self._traffic.message(Message(message._topic, bytes(message.payload), mid, message.retain, message.dup))
