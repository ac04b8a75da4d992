"""A simulated pump station: recordings whose columns are tied together by physics, with faults on request.

A variable-speed centrifugal pump lifts water from a sump into a tank. Three slow causes drive everything, the demand,
the sump level and the ambient temperature; the rest follows, with n the speed and Q the flow relative to the rated
point (1480 rpm, 180 m3/h, where the pump is at its best efficiency), heads in metres of water:

    pump curve            H = H0 n^2 - a Q^2            affinity laws Q ~ n, H ~ n^2, P ~ n^3 [1, ch. 3-4]
    system curve          H = Hs + (ks + kd) Q^2        static head, suction and discharge friction [1, ch. 11]
    speed                 n^2 = (Hs + (a + ks + kd) D^2) / H0 for the demand D, reached with a lag
    efficiency            eta = eta0 (1 - (1 - phi)^2)  phi = Q / n is 1 at the best point of any speed [1, ch. 4]
    electrical power      P = rho g Q H / (eta eta_m)   [1, ch. 2]
    motor current         I^2 = (P / (sqrt(3) U n))^2 + Im^2   constant volts per hertz, magnetising current Im [2]
    suction pressure      ps = rho g (level - ks Q^2), gauge;  discharge pressure pd = ps + rho g H
    bearing temperature   tau dT/dt = ambient + heating P / P_rated - T   lumped heat capacity [3, ch. 5]
    vibration             v = v0 + v1 n^2 + v2 (1 - phi)^2   [1, ch. 10]; sizes after ISO 10816-7

The drive gets its speed from the demand alone, so a fault shows as a broken relation at an unchanged speed.
Left out: velocity heads, and pressure waves, which settle faster than rows follow each other.
[1] Gülich, Centrifugal Pumps. [2] Chapman, Electric Machinery Fundamentals. [3] Incropera, Heat and Mass Transfer.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Floats = NDArray[np.float64]

# Column -> (standard deviation of the noise, 0.3-1 % of the rated reading; decimals that the instrument shows).
_SENSORS = {
    "speed_rpm": (4.5, 0),
    "flow_m3h": (0.9, 1),
    "suction_pressure_bar": (0.003, 3),
    "discharge_pressure_bar": (0.011, 2),
    "motor_current_a": (0.17, 1),
    "power_kw": (0.11, 2),
    "bearing_temperature_c": (0.15, 1),
    "vibration_mm_s": (0.02, 2),
}
COLUMNS: tuple[str, ...] = tuple(_SENSORS)

FAULTS: dict[str, str] = {
    "bearing-wear": "A bearing wears out: vibration and bearing temperature creep up at the same load.",
    "cavitation": "Vapour forms at the inlet: suction pressure, flow and head drop and fluctuate, vibration rises.",
    "leak": "A pipe bursts behind the flow meter: more flow and less discharge pressure at the same speed.",
    "blocked-filter": "The suction filter clogs: suction pressure and flow fall while the pump head rises.",
    "sensor-stuck": "The flow meter freezes at the value it showed when the fault began.",
    "sensor-drift": "The discharge pressure sensor drifts upwards, away from what flow and power say.",
    "electrical": "A phase imbalance: the motor draws more current for the same power.",
}
# The part of a fault's duration in which it grows to its full size; 0 is a step.
_RISE = {"bearing-wear": 0.7, "cavitation": 0.1, "leak": 0.02, "blocked-filter": 0.6, "sensor-drift": 0.8}

RATED_SPEED_RPM, RATED_FLOW_M3H, RATED_POWER_KW = 1480.0, 180.0, 21.3
SHUTOFF_HEAD_M, PUMP_LOSS_M = 40.0, 8.0  # H0 and a
STATIC_HEAD_M, SUCTION_LOSS_M, DISCHARGE_LOSS_M = 14.0, 0.8, 17.2  # Hs, ks and kd: 32 m at the rated point
PUMP_EFFICIENCY, MOTOR_EFFICIENCY = 0.80, 0.92
MOTOR_VOLTAGE_V, MAGNETISING_CURRENT_A = 400.0, 14.0
SUMP_LEVEL_M = 4.0  # above the pump: flooded suction
BAR_PER_M = 998.0 * 9.81 / 1e5  # rho g of water at 20 °C
VACUUM_BAR = -0.98  # gauge pressure at which the water boils: no suction sensor reads less

_MONDAY = datetime(2026, 1, 5)
_MAX_ROWS = 10_000_000
_WORST = 5  # the highest severity; beyond, the curves leave the range in which the formulas mean anything
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"  # no sign, no exponent
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LATENTS = 5  # random numbers per row besides the sensor noise: see _physics


def parse_duration(text: str) -> float:
    """Seconds meant by `90s`, `15m`, `2h`, `1d` or a bare number of seconds."""
    match = re.fullmatch(f"({_NUMBER})([smhd]?)", text.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else math.inf
    _require(seconds < math.inf, f"not a duration: {text!r}; expected a number and s, m, h or d, like 90s, 15m or 2h")
    return seconds


@dataclass(frozen=True)
class Fault:
    """One of `FAULTS`, begun `start_s` after the first row; an operator can just see severity 1 on a trend."""

    name: str
    start_s: float
    duration_s: float
    severity: float = 1.0

    def __post_init__(self) -> None:
        _require(self.name in FAULTS, f"unknown fault {self.name!r}; known faults: {', '.join(FAULTS)}")
        _require(0 <= self.start_s < math.inf, f"{self.name}: start_s is {self.start_s}, expected 0 or more")
        _require(0 < self.duration_s < math.inf, f"{self.name}: duration_s is {self.duration_s}, expected more than 0")
        _require(0 < self.severity <= _WORST, f"{self.name}: severity is {self.severity}, expected in (0, {_WORST}]")

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Fault written as `NAME@START+DURATION[*SEVERITY]`, like `leak@90m+10m*0.5`."""
        match = re.fullmatch(r"([^@+*]+)@([^@+*]+)\+([^@+*]+)(?:\*([^@+*]+))?", text.strip())
        try:
            if match is None:
                raise InputError("a part is missing or out of place")
            name, start, duration, severity = match.groups(default="1")
            _require(re.fullmatch(_NUMBER, severity.strip()) is not None, f"the severity {severity!r} is not a number")
            return cls(name.strip(), parse_duration(start), parse_duration(duration), float(severity))
        except InputError as error:
            wanted = "expected NAME@START+DURATION[*SEVERITY], like leak@90m+10m*0.5"
            raise InputError(f"cannot read the fault {text!r}: {error}; {wanted}") from None


@dataclass(frozen=True, eq=False)
class Recording:
    """What the station's logger wrote; a bearing that a fault heated cools down in rows labelled 0."""

    timestamps: tuple[str, ...]  # ISO 8601 without zone, evenly spaced
    values: Floats  # (rows, len(COLUMNS)), in the unit that the column's name ends with
    labels: NDArray[np.uint8]  # (rows,), 1 while a fault is active


def simulate(
    *, duration_s: float, period_s: float = 10.0, seed: int = 0, faults: Sequence[Fault] = (), start: datetime = _MONDAY
) -> Recording:
    """Recording of the station from `start`, one row per `period_s`; equal arguments give equal rows.

    Faults draw no random numbers of their own: up to the first fault, rows are bit-identical with and without it.
    """
    rows = _checked_rows(duration_s, period_s, seed, start)
    windows = [(fault, _window(fault, rows, duration_s, period_s)) for fault in faults]
    elapsed: Floats = np.arange(rows, dtype=np.float64) * period_s
    # Drawn row by row, so a longer recording begins with the rows of a shorter one.
    noise = np.random.default_rng(seed).standard_normal((rows, _LATENTS + len(COLUMNS)))
    sizes = {name: np.zeros(rows) for name in FAULTS}
    labels = np.zeros(rows, dtype=np.uint8)
    for fault, window in windows:
        rise_s = max(_RISE.get(fault.name, 0.0) * fault.duration_s, period_s)
        grown = (elapsed[window] - fault.start_s + period_s) / rise_s
        sizes[fault.name][window] += fault.severity * np.minimum(grown, 1.0)
        labels[window] = 1
    day = (elapsed + (start - datetime.combine(start, time.min)).total_seconds()) / 86400.0
    values = _physics(day, period_s, noise[:, :_LATENTS], {k: v.clip(0, _WORST) for k, v in sizes.items()})
    for column, (deviation, decimals) in enumerate(_SENSORS.values()):
        reading = values[:, column] + deviation * noise[:, _LATENTS + column]
        values[:, column] = np.round(reading, decimals) + 0.0  # adding 0.0 turns -0.0 into 0.0
    flow_m3h = values[:, COLUMNS.index("flow_m3h")]
    np.maximum(flow_m3h, 0.0, out=flow_m3h)  # the meter shows no flow backwards
    for window in (window for fault, window in windows if fault.name == "sensor-stuck"):
        flow_m3h[window] = flow_m3h[window.start]
    precision = "seconds" if float(period_s).is_integer() and not start.microsecond else "microseconds"
    moments = (start + timedelta(seconds=row * period_s) for row in range(rows))
    return Recording(tuple(moment.isoformat(timespec=precision) for moment in moments), values, labels)


def csv_lines(recording: Recording, *, labels: bool = False) -> Iterator[str]:
    """Lines of the CSV file, header first; the decimals are those of the sensors, so nothing is lost."""
    yield ",".join(("timestamp", *COLUMNS, *(["label"] if labels else []))) + "\n"
    template = ",".join(f"{{:.{decimals}f}}" for _, decimals in _SENSORS.values())
    for stamp, row, label in zip(recording.timestamps, recording.values.tolist(), recording.labels, strict=True):
        yield f"{stamp},{template.format(*row)}{f',{label}' if labels else ''}\n"


def _physics(day: Floats, period_s: float, noise: Floats, sizes: Mapping[str, Floats]) -> Floats:
    """What noiseless sensors show, shape (rows, columns), by the equations above; `day` counts from midnight."""
    weather, inflow, habits, whims, bubbles = noise.T
    ambient = 18.0 + 5.0 * np.cos(2 * np.pi * (day - 15 / 24)) + _wander(weather, period_s, 6 * 3600.0)
    level = SUMP_LEVEL_M + 0.25 * np.tanh(_wander(inflow, period_s, 3 * 3600.0))  # the inlet valve bounds the level
    demand = _daily_demand(day) * (1 + 0.04 * _wander(habits, period_s, 3 * 3600.0))
    demand = np.clip(demand + 0.02 * _wander(whims, period_s, 600.0), 0.45, 1.15)
    static = STATIC_HEAD_M + SUMP_LEVEL_M - level
    needed = static + (PUMP_LOSS_M + SUCTION_LOSS_M + DISCHARGE_LOSS_M) * demand**2
    n = _lag(np.sqrt(needed / SHUTOFF_HEAD_M), period_s, 30.0)
    cavities = sizes["cavitation"] * np.clip(1 + 0.4 * bubbles, 0.0, 2.0)
    shutoff = SHUTOFF_HEAD_M * n**2 * np.maximum(1 - 0.08 * cavities, 0.2)
    inlet_drop = 1.2 * cavities
    suction_loss = SUCTION_LOSS_M * (1 + 5 * sizes["blocked-filter"])
    # A burst is a second path beside the pipe: conductances add (pipes in parallel), and friction ~ 1 / conductance^2.
    discharge_loss = DISCHARGE_LOSS_M / (1 + 0.25 * sizes["leak"]) ** 2
    lift = np.maximum(shutoff - static - inlet_drop, 0.0)  # the check valve holds: no flow backwards
    q = np.sqrt(lift / (PUMP_LOSS_M + suction_loss + discharge_loss))
    head = shutoff - PUMP_LOSS_M * q**2
    phi = q / n
    # Q / eta = n / (eta0 (2 - phi)): the same quotient, finite at Q = 0.
    flow_over_eta = n / (PUMP_EFFICIENCY * (2 - phi) * np.maximum(1 - 0.05 * cavities, 0.5))
    power = 100 * BAR_PER_M * head * RATED_FLOW_M3H / 3600 * flow_over_eta / MOTOR_EFFICIENCY  # kPa m3/s
    active_a = 1000 * power / (math.sqrt(3) * MOTOR_VOLTAGE_V * n)
    current = np.hypot(active_a, MAGNETISING_CURRENT_A) * (1 + 0.1 * sizes["electrical"])
    suction = np.maximum(BAR_PER_M * (level - inlet_drop - suction_loss * q**2), VACUUM_BAR)
    discharge = suction + BAR_PER_M * head + 0.3 * sizes["sensor-drift"]  # drift: as its sensor shows it
    heating = 22.0 * power / RATED_POWER_KW + 16.0 * sizes["bearing-wear"]
    bearing = _lag(ambient + heating, period_s, 1200.0)
    vibration = 0.6 + 1.2 * n**2 + 3.0 * (1 - phi) ** 2 + 1.5 * n**2 * sizes["bearing-wear"] + 1.2 * cavities
    columns = RATED_SPEED_RPM * n, RATED_FLOW_M3H * q, suction, discharge, current, power, bearing, vibration
    return np.stack(columns, axis=1)  # in the order of COLUMNS


def _daily_demand(day: Floats) -> Floats:
    """Demand relative to the rated flow: a quiet night, a morning and an evening peak, some use in between."""
    demand = np.full_like(day, 0.58)
    for hour, size, sharpness in ((7.5, 0.36, 4.0), (13.0, 0.14, 2.0), (19.0, 0.32, 3.0)):
        demand += size * np.exp(sharpness * (np.cos(2 * np.pi * (day - hour / 24)) - 1))  # a bump that is periodic
    return demand


def _lag(goal: Floats, period_s: float, time_constant_s: float, *, gain: float | None = None) -> Floats:
    """First-order lag towards `goal`, exact for a goal that is constant within a row; starts settled."""
    keep = math.exp(-period_s / time_constant_s)
    weight = 1 - keep if gain is None else gain
    return np.array(list(accumulate(goal.tolist(), lambda state, push: keep * state + weight * push)))


def _wander(noise: Floats, period_s: float, time_constant_s: float) -> Floats:
    """Ornstein-Uhlenbeck process: a lag of white noise whose variance is 1 whatever the period."""
    gain = math.sqrt(-math.expm1(-2 * period_s / time_constant_s))
    return _lag(noise, period_s, time_constant_s, gain=gain)


def _rows_before(time_s: float, period_s: float) -> int:
    """Number of rows earlier than `time_s`; rounded first, because 1.1 / 0.1 is a little more than 11."""
    return math.ceil(round(time_s / period_s, 6))


def _checked_rows(duration_s: float, period_s: float, seed: int, start: datetime) -> int:
    _require(0 < period_s < math.inf, f"period_s is {period_s}, expected more than 0 seconds")
    _require(period_s <= duration_s < math.inf, f"duration_s is {duration_s}, expected {period_s} or more")
    _require(duration_s / period_s <= _MAX_ROWS, f"{duration_s} s at {period_s} s: more than {_MAX_ROWS} rows")
    _require(seed >= 0, f"seed is {seed}, expected 0 or more")
    _require(start.tzinfo is None, f"start is {start}, expected a time without zone")
    left_s = (datetime.max - start).total_seconds()
    _require(duration_s <= left_s, f"duration_s is {duration_s}, expected at most {left_s}: years have four digits")
    return _rows_before(duration_s, period_s)


def _window(fault: Fault, rows: int, duration_s: float, period_s: float) -> slice:
    """Rows in which the fault is active; refuses a fault that does not lie inside the recording."""
    end_s = fault.start_s + fault.duration_s
    lasts = f"fault {fault.name} lasts from {fault.start_s:g} s to {end_s:g} s"
    fits = end_s <= duration_s or math.isclose(end_s, duration_s)  # 0.1 + 0.2 is a little more than 0.3
    _require(fits, f"{lasts}, but the recording ends at {duration_s:g} s; move it or record longer")
    window = slice(_rows_before(fault.start_s, period_s), min(_rows_before(end_s, period_s), rows))
    _require(window.start < window.stop, f"{lasts}, between two rows {period_s:g} s apart; make it longer")
    return window


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)
