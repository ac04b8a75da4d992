"""What Home Assistant must be told of a machine to show it: an anomaly, yes or no, and its severity."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

DISCOVERY = "homeassistant"
"""The prefix of topics where Home Assistant looks."""

_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Announcement(NamedTuple):
    """A message that is retained."""

    topic: str
    payload: bytes


def announcements(model: str, key: str, state_topic: str) -> list[Announcement]:
    """The two entities of a machine, whose results come on this topic.

    Parameters
    ----------
    model : the name of the detector
    key : the machine; "" where there is only one
    """
    ident = _NO_NAME.sub("_", f"vae_detect_{model}_{key}" if key else f"vae_detect_{model}")
    device = {"identifiers": [ident], "name": key or model, "manufacturer": "vae-detect", "model": model}
    shared = {"state_topic": state_topic, "device": device, "qos": 1}
    anomaly = shared | {
        "name": "Anomaly",
        "unique_id": f"{ident}_anomaly",
        "device_class": "problem",
        "value_template": "{{ 'ON' if value_json.is_anomaly else 'OFF' }}",
        "json_attributes_topic": state_topic,
    }
    severity = shared | {
        "name": "Severity",
        "unique_id": f"{ident}_severity",
        "state_class": "measurement",
        "icon": "mdi:alert-decagram-outline",
        "value_template": "{{ value_json.severity }}",
    }
    return [
        Announcement(f"{DISCOVERY}/{kind}/{ident}/{name}/config", msgspec.json.encode(config))
        for kind, name, config in (("binary_sensor", "anomaly", anomaly), ("sensor", "severity", severity))
    ]
