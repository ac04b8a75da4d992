"""The unit of a column, by its header: what stands in brackets or behind the last underscore, where it is one."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SQUARE = re.compile(r"\[([^\[\]]+)\]\s*$")
_ROUND = re.compile(r"\(([^()]+)\)\s*$")

_PLAIN = frozenset(
    """
    % ‰ ° °C °F °K degC degF deg degree degrees rad mrad ppm ppb ppt NTU pH RH %RH mm cm dm km µm um nm inch ft mi
    mm2 cm2 m2 m² m3 m³ dm3 ml mL hl kg mg µg ug lb lbs kN MN Nm N·m kNm Pa hPa kPa MPa mbar bar bara barg psi psig
    mmHg atm Torr mV kV mA kA µA uA kW MW GW mW kWh MWh Wh kVA VA var kvar kJ MJ Hz kHz MHz GHz rpm RPM U/min 1/min
    1/s s-1 min-1 ms µs us ns sec dB dBA dBm Ohm ohm kOhm Ω kΩ MΩ µS mS lx lux klx lm cd mol mmol kB MB GB KiB MiB
    GiB kbit/s Mbit/s MB/s lpm gpm sccm slpm cfm cP mPas cSt
    """.split()  # noqa: SIM905
)
"""Units that are nothing else, as they stand in round brackets."""

_ABOVE = frozenset(
    """
    m mm cm km µm um in ft m3 m³ Nm3 l L ml mL dm3 g kg t mg µg ug W kW J kJ Wh kWh µS uS mS mol °C K V rad
    """.split()  # noqa: SIM905
)
_BELOW = frozenset("s sec min h hr d m cm mm m2 m² m3 m³ l L kg K s2 s²".split())  # noqa: SIM905
"""What stands above and below the stroke of a unit like m3/h."""

_LETTERS = {
    **dict.fromkeys("CF", ("temp", "thermo", "dew", "chill")),
    "K": ("temp", "thermo"),
    "V": ("volt", "spannung"),
    "A": ("current", "amp", "strom"),
    "W": ("power", "watt", "leistung"),
    "N": ("force", "kraft", "thrust"),
    "m": ("level", "depth", "height", "length", "distance", "altitude", "elevation"),
    "s": ("time", "duration", "period", "delay"),
    "h": ("time", "duration", "hours"),
    "g": ("accel", "weight", "mass", "vibration"),
    "l": ("volume", "tank"),
}
"""Units of one letter, which may name a phase or a pump as well, and the words that must come before."""

_WRITTEN = {
    "percent": "%",
    "pct": "%",
    "celsius": "°C",
    "degc": "°C",
    "fahrenheit": "°F",
    "degf": "°F",
    "kelvin": "K",
    "degree": "°",
    "degrees": "°",
    "deg": "°",
    "radians": "rad",
    "volts": "V",
    "amps": "A",
    "watts": "W",
    "seconds": "s",
    "ohms": "Ohm",
    **{
        unit.lower(): unit
        for unit in """
        rad ppm ppb NTU mm cm km µm kg mg kN Nm Pa hPa kPa MPa mbar bar psi psig mV kV mA kW kWh MWh Wh kVA kvar Hz kHz
        MHz rpm ms dB lux lpm gpm
        """.split()  # noqa: SIM905
    },
    "um": "µm",
    "m3h": "m3/h",
}
"""Words behind the last underscore or blank, in small letters, and the units that they are. Not mw, which is two."""


def unit_of(name: str) -> str:
    """The unit that a header names, as people write it; "" where none is sure.

    In square brackets anything is a unit, in round ones and behind the last underscore or blank what is nothing else.
    A single letter needs a word that says what is measured.

    >>> [unit_of(name) for name in ("Temp [°C]", "flow (m3/h)", "temp_c", "x_mm_s", "wind_dir_deg", "load_pct")]
    ['°C', 'm3/h', '°C', 'mm/s', '°', '%']
    >>> [unit_of(name) for name in ("valve (open)", "Temp (LGR S/N: 123)", "pump_a", "level_min", "sensor (A)")]
    ['', '', '', '', '']
    """
    if found := _SQUARE.search(name):
        return found.group(1).strip()
    if found := _ROUND.search(name):
        unit = found.group(1).strip()
        return unit if unit in _PLAIN or _is_ratio(unit) else _letter(unit, name[: found.start()])
    words = re.split(r"[_\s]+", name.strip())
    return _behind(words[:-1], words[-1]) if len(words) > 1 else ""


def _behind(before: Sequence[str], last: str) -> str:
    """The unit in the last word of a header, or in the last two."""
    if last in ("°C", "°F", "°", "%") or _is_ratio(last):
        return last
    if before[-1].lower() == "deg" and last.lower() in ("c", "f"):
        return f"°{last.upper()}"
    ratio = f"{_spelt(before[-1])}/{_spelt(last)}"
    if len(before) > 1 and _is_ratio(ratio):
        return ratio
    return _WRITTEN.get(last.lower()) or _letter(last, " ".join(before))


def is_percentage(unit: str) -> bool:
    """Whether a unit is that of a share of 100."""
    return unit.lower() in ("%", "percent")


def _is_ratio(text: str) -> bool:
    above, stroke, below = text.partition("/")
    return bool(stroke) and above in _ABOVE and below in _BELOW


def _letter(unit: str, before: str) -> str:
    """A unit of one letter, in any case, where the words before it speak of what it measures."""
    letter = next((known for known in _LETTERS if known.lower() == unit.lower()), "")
    if not letter or not any(word in before.lower() for word in _LETTERS[letter]):
        return ""
    return f"°{letter}" if letter in "CF" else letter


def _spelt(word: str) -> str:
    """A part of a unit as people write it."""
    return {"us": "µS", "kw": "kW", "kwh": "kWh", "ms": "mS"}.get(word.lower(), word.lower())
