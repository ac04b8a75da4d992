"""MQTT with a real broker: nothing is lost, whoever falls, and poison stops nothing."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import MODEL
from mqtt_broker import Mosquitto, running_broker
from mqtt_flow import Rig, Scorer, rig_of, strike, wait
from numpy.typing import NDArray

from vae_detect.runtime.detector import Detector
from vae_detect.runtime.errors import InputError, UnavailableError
from vae_detect.runtime.streams.addresses import Broker
from vae_detect.runtime.streams.login import Login
from vae_detect.runtime.streams.mqtt import MqttSink, Publisher
from vae_detect.runtime.streams.mqtt_source import MqttSource, default_client_id
from vae_detect.runtime.streams.samples import Answer, Sample

Floats = NDArray[np.float32]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with running_broker(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def rig(broker: Mosquitto) -> Iterator[Rig]:
    with rig_of(broker) as rig:
        yield rig


@pytest.mark.parametrize("fault", ["broker", "scorer", "broker and scorer"])
def test_no_sample_is_lost_whoever_falls(
    rig: Rig, detector: Detector, normal_rows: Floats, fault: str, tmp_path: Path
) -> None:
    scorer, numbers = Scorer(rig.broker, MODEL, "--state", str(tmp_path / "state")), range(800)
    rig.await_scorer(normal_rows)
    publishing = threading.Thread(target=rig.publish, args=(normal_rows, numbers, 400))
    publishing.start()
    time.sleep(0.8)
    strike(fault, rig.broker, scorer, 0.3)
    publishing.join()
    lost = rig.await_results(numbers, 20)
    assert lost == [], scorer.said()
    rig.check(normal_rows, detector.score(normal_rows).score, numbers)
    assert scorer.stop() == 0
    assert "Traceback" not in scorer.said()


POISON = {
    "empty": b"",
    "blank": b" \n",
    "no JSON": b'{"id": 1, "values": [1,',
    "text": b"hello",
    "binary": bytes(range(256)),
    "NaN": b"[NaN, 1, 2, 3, 4, 5, 6, 7]",
    "null": b"[null, 1, 2, 3, 4, 5, 6, 7]",
    "number": b"5",
    "wrong width": b"[1, 2, 3]",
    "another schema": b'{"temperature": 21.5}',
    "deep": b"[" * 10_000 + b"]" * 10_000,
    "too large": b"[" + b"1," * (1 << 20) + b"1]",
    "half a character": b'{"id": "\\ud83d", "values": [1]}',
}


def test_poison_goes_to_the_error_topic_and_the_flow_goes_on(rig: Rig, detector: Detector, normal_rows: Floats) -> None:
    rig.publisher.publish("plant/m9/sensors", b"[1, 2, 3, 4, 5, 6, 7, 8]", qos=1, retain=True).wait_for_publish(10)
    scorer = Scorer(rig.broker, MODEL)
    rig.await_scorer(normal_rows)
    for number, payload in enumerate(POISON.values(), 1):
        rig.publisher.publish("plant/m1/sensors", payload, qos=number % 3)
        rig.publish(normal_rows, [number], 1000)
    numbers = range(1, len(POISON) + 1)
    assert rig.await_results(numbers, 20) == [], scorer.said()
    wait(lambda: len(rig.errors) == len(POISON) + 1, 10)
    rig.check(normal_rows, detector.score(normal_rows).score, numbers)
    assert [error["topic"] for error in rig.errors].count("plant/m9/sensors") == 1
    assert all(error["reason"] and error["topic"].startswith("plant/") for error in rig.errors)
    assert all(len(json.dumps(error)) < 2000 for error in rig.errors)
    assert scorer.process.poll() is None
    assert scorer.stop() == 0
    said = scorer.said()
    assert "Traceback" not in said
    # All of it is acknowledged: nothing comes again to the same session.
    before = len(rig.errors)
    scorer.start()
    rig.publish(normal_rows, [100], 1)
    assert rig.await_results([100], 20) == []
    assert len(rig.errors) == before
    assert scorer.stop() == 0


def test_memory_stays_flat_while_the_broker_is_away_and_samples_flow_soon_after(rig: Rig, normal_rows: Floats) -> None:
    scorer, away_s = Scorer(rig.broker, MODEL), 15.0
    rig.await_scorer(normal_rows)
    rig.publish(normal_rows, range(400), 400)
    assert rig.await_results(range(400), 20) == []
    before = scorer.rss_kb()
    rig.broker.stop()
    time.sleep(away_s)
    grown = scorer.rss_kb() - before
    rig.broker.start()
    began = time.monotonic()
    rig.publish(normal_rows, [400], 1)
    assert rig.await_results([400], 10) == [], scorer.said()
    assert rig.last - began < 5
    assert grown < 8 * 1024
    assert scorer.stop() == 0
    assert scorer.said().count("trying again") == 4  # of source and sink: the connection is lost, the port is closed


def first(source: MqttSource, timeout_s: float = 10) -> list[bytes]:
    """The first samples of a source."""
    end = time.monotonic() + timeout_s
    for samples in source.batches():
        if samples or time.monotonic() > end:
            source.done(samples)
            return [sample.payload for sample in samples]
    return []


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with ca.pem, and server.pem with server.key for 127.0.0.1."""
    folder = tmp_path / "tls"
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=box -keyout server.key -out server.csr",
        "x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -extfile names",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")  # paho leaves it
def test_password_and_certificates_are_shown_and_never_told(tmp_path: Path, certificates: Path) -> None:
    secret, passwords = "hunter2-ü", tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "edge", secret], check=True, capture_output=True)
    names = {"cafile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
    settings = "\n".join(f"{setting} {certificates / name}" for setting, name in names.items())
    said: list[str] = []
    with running_broker(tmp_path / "broker", f"allow_anonymous false\npassword_file {passwords}\n{settings}") as broker:
        address = Broker("127.0.0.1", broker.port, "plant/{key}", "edge", is_encrypted=True)
        login = Login("", secret, certificates / "ca.pem")
        source = MqttSource(address, login, client_id="a", say=said.append)
        taken = threading.Thread(target=lambda: payloads.extend(first(source)))
        payloads: list[bytes] = []
        taken.start()
        wait(lambda: source.is_connected, 10)
        publisher = Publisher(address, login, client_id="b", say=said.append)
        publisher.send(b"[1]", "m1")
        taken.join()
        assert payloads == [b"[1]"]
        assert said == []
        publisher.close()
        source.close()
        source.close()
        for wrong, told in (
            (Login("", "wrong", certificates / "ca.pem"), "refuses the connection: Not authorized"),
            (Login("", secret), "certificate verify failed"),
        ):
            other = MqttSource(address, wrong, client_id="c", say=said.append)
            threading.Thread(target=first, args=(other, 3)).start()
            wait(lambda told=told: any(told in line for line in said), 10)
            other.close()
    assert secret not in repr(login) + "".join(said) + (tmp_path / "broker" / "log").read_text()


def test_only_what_is_done_is_acknowledged(rig: Rig) -> None:
    address = Broker("127.0.0.1", rig.broker.port, "own/{key}")

    def taken(done: int, *, published: bool) -> list[bytes]:
        """What a source gives, which is then done with so many of them."""
        source = MqttSource(address, Login(), client_id="own", say=print)
        found: list[Sample] = []
        end = time.monotonic() + (10 if published else 1)
        for samples in source.batches():
            if published and source.is_connected and not found and not samples:
                for number in range(4):
                    rig.publisher.publish("own/a", f"[{number}]", qos=1)
            found += samples
            if len(found) >= 4 or time.monotonic() > end:
                source.done(found[:done])
                time.sleep(0.2)
                source._link.leave()  # as if it were killed, but for the part that is done
                break
        return [sample.payload for sample in found]

    assert taken(1, published=True)[:4] == [b"[0]", b"[1]", b"[2]", b"[3]"]
    assert taken(3, published=False)[:3] == [b"[1]", b"[2]", b"[3]"]
    assert taken(0, published=False) == []


def test_files_that_hold_no_certificate_are_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(InputError, match=r"ca\.pem: holds no certificate \(PEM\)"):
        Login(ca_file=tmp_path / "ca.pem").trust()
    with pytest.raises(InputError, match=r"key\.pem: hold no certificate with its key"):
        Login(cert_file=tmp_path / "ca.pem", key_file=tmp_path / "key.pem").trust()


def test_an_event_that_does_not_arrive_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae_detect.runtime.streams.mqtt._PUBLISHED_S", 0.3)
    publisher = Publisher(Broker("127.0.0.1", 1, "events/{key}"), Login(), client_id="a", say=lambda _: None)
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the broker has not taken an event within"):
            publisher.send(b"{}", "m1")
    assert publisher._sink.under_way == 0
    publisher.close()


def test_results_that_the_broker_refuses_are_kept_and_told(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite plant/+/sensors\n")
    said, done = list[str](), list[Sample]()
    with running_broker(tmp_path / "broker", f"allow_anonymous true\nacl_file {tmp_path / 'acl'}") as broker:
        sink = MqttSink(Broker("127.0.0.1", broker.port, "plant/a/verdict"), Login(), client_id="a", say=said.append)
        sink.send([Answer(Sample(b""), b"{}"), Answer(Sample(b""), b"")], done.extend)
        wait(lambda: said, 10)
        assert "does not take results on plant/a/verdict: Not authorized; trying again" in said[0]
        assert (sink.under_way, done) == (1, [])  # the header waits with the result before it
        sink.close()


def test_results_of_any_size_arrive_in_order_and_headers_after_those_before(rig: Rig) -> None:
    done, got = list[Sample](), list[bytes]()
    rig.collector.message_callback_add("large/#", lambda _client, _data, message: got.append(bytes(message.payload)))
    rig.collector.subscribe("large/#", 1)
    time.sleep(0.2)
    sink = MqttSink(Broker("127.0.0.1", rig.broker.port, "large/{key}"), Login(), client_id="a", say=print)
    bodies = [b"x" * size for size in (0, 1, 115, 116, 117, 16_370, 16_380, 3_000_000, 0, 5)]
    samples = [Sample(b"", "a/b", token=number) for number in range(len(bodies))]
    sink.send([Answer(sample, body) for sample, body in zip(samples, bodies, strict=True)], done.extend)
    wait(lambda: len(done) == len(bodies), 10)
    assert [sample.token for sample in done] == [*range(len(bodies))]
    wait(lambda: len(got) == 8, 10)
    assert got == [body for body in bodies if body]
    sink.close()


def test_home_assistant_is_told_of_each_key_once(rig: Rig, normal_rows: Floats) -> None:
    told: dict[str, dict[str, object]] = {}
    count: list[str] = []

    def note(_client: object, _data: object, message: object) -> None:
        count.append(message.topic)  # type: ignore[attr-defined]
        told[message.topic] = json.loads(message.payload)  # type: ignore[attr-defined]

    rig.collector.message_callback_add("homeassistant/#", note)
    rig.collector.subscribe("homeassistant/#", 1)
    scorer = Scorer(rig.broker, MODEL, "--home-assistant")
    rig.await_scorer(normal_rows)
    rig.publish(normal_rows, range(9), 100)
    assert rig.await_results(range(9), 20) == []
    wait(lambda: len(told) == 6, 5)
    assert len(count) == 6
    config = told["homeassistant/binary_sensor/vae_detect_vae_m1/anomaly/config"]
    assert config["state_topic"] == "plant/m1/verdict"
    assert config["device_class"] == "problem"
    assert config["unique_id"] != told["homeassistant/sensor/vae_detect_vae_m1/severity/config"]["unique_id"]
    assert scorer.stop() == 0


def test_two_with_one_client_id_are_told_so(rig: Rig) -> None:
    said: list[str] = []
    address = Broker("127.0.0.1", rig.broker.port, "plant/#")
    sources = [MqttSource(address, Login(), client_id="same", say=said.append) for _ in range(2)]
    for source in sources:
        threading.Thread(target=first, args=(source, 3)).start()
    wait(lambda: any("another client is called 'same'" in line for line in said), 10)
    for source in sources:
        source.close()
        source.close()


def test_a_client_id_differs_by_machine_model_topic_and_purpose() -> None:
    one, other = Broker("a", 1883, "plant/#"), Broker("a", 1883, "plant/{key}")
    names = {
        *(default_client_id("m", one), default_client_id("m", other), default_client_id("n", one)),
        default_client_id("m", one, "results"),
    }
    assert len(names) == 4
    assert default_client_id("m", one) == default_client_id("m", one)
