import csv
import io
import math
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vae_detect.runtime.errors import InputError
from vae_detect.runtime.simulation import COLUMNS, FAULTS, Fault, Recording, csv_lines, parse_duration, simulate

DAY_S = 86400.0
HOUR_S = 3600.0

# What each fault claims to change, as (column, sign of the change), and the columns that it must leave as they are.
EFFECTS: dict[str, tuple[list[tuple[str, int]], list[str]]] = {
    "bearing-wear": ([("bearing_temperature_c", 1), ("vibration_mm_s", 1)], ["flow_m3h", "power_kw"]),
    "cavitation": (
        [("suction_pressure_bar", -1), ("flow_m3h", -1), ("discharge_pressure_bar", -1), ("vibration_mm_s", 1)],
        ["speed_rpm"],
    ),
    "leak": ([("flow_m3h", 1), ("discharge_pressure_bar", -1)], ["speed_rpm"]),
    "blocked-filter": ([("suction_pressure_bar", -1), ("flow_m3h", -1)], ["speed_rpm"]),
    "sensor-stuck": ([("flow_m3h", 0)], [column for column in COLUMNS if column != "flow_m3h"]),
    "sensor-drift": (
        [("discharge_pressure_bar", 1)],
        [column for column in COLUMNS if column != "discharge_pressure_bar"],
    ),
    "electrical": ([("motor_current_a", 1)], [column for column in COLUMNS if column != "motor_current_a"]),
}


def column(recording: Recording, name: str) -> NDArray[np.float64]:
    return recording.values[:, COLUMNS.index(name)]


def power_by_hand(recording: Recording) -> NDArray[np.float64]:
    """Electrical power in kW from flow, pressures and speed, with the station's data sheet typed in again."""
    rise_pa = 1e5 * (column(recording, "discharge_pressure_bar") - column(recording, "suction_pressure_bar"))
    phi = (column(recording, "flow_m3h") / 180) / (column(recording, "speed_rpm") / 1480)
    efficiency = 0.80 * (2 * phi - phi**2) * 0.92
    return np.asarray(rise_pa * column(recording, "flow_m3h") / 3600 / efficiency / 1000)


@pytest.fixture(scope="module")
def normal_day() -> Recording:
    return simulate(duration_s=DAY_S, period_s=30)


def test_equal_arguments_give_equal_recordings() -> None:
    first = simulate(duration_s=HOUR_S, seed=3, faults=[Fault("leak", 600, 600)])
    second = simulate(duration_s=HOUR_S, seed=3, faults=[Fault("leak", 600, 600)])

    assert first.timestamps == second.timestamps
    assert first.values.tobytes() == second.values.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()


def test_another_seed_is_another_history_of_the_same_station(normal_day: Recording) -> None:
    other = simulate(duration_s=DAY_S, period_s=30, seed=1)

    assert not np.array_equal(other.values, normal_day.values)
    np.testing.assert_allclose(other.values.mean(axis=0), normal_day.values.mean(axis=0), rtol=0.1)


def test_the_global_random_state_is_left_alone() -> None:
    before = repr(np.random.get_state())
    simulate(duration_s=100)

    assert repr(np.random.get_state()) == before


def test_a_longer_recording_begins_with_the_shorter_one() -> None:
    short, long = simulate(duration_s=HOUR_S), simulate(duration_s=2 * HOUR_S)

    assert long.timestamps[:360] == short.timestamps
    np.testing.assert_allclose(long.values[:360], short.values, atol=1e-9)


def test_shapes_types_and_times() -> None:
    recording = simulate(duration_s=60, period_s=20)

    assert recording.timestamps == ("2026-01-05T00:00:00", "2026-01-05T00:00:20", "2026-01-05T00:00:40")
    assert recording.values.shape == (3, len(COLUMNS))
    assert recording.values.dtype == np.float64
    assert recording.labels.dtype == np.uint8
    assert recording.labels.tolist() == [0, 0, 0]


def test_rows_are_those_before_the_end() -> None:
    assert len(simulate(duration_s=25, period_s=10).values) == 3  # 0, 10 and 20 s
    assert len(simulate(duration_s=1.1, period_s=0.1).values) == 11  # although 1.1 / 0.1 > 11 in floating point


def test_times_keep_one_form_when_the_period_is_a_fraction() -> None:
    assert simulate(duration_s=1.5, period_s=0.5, start=datetime(2026, 3, 1, 12)).timestamps == (
        "2026-03-01T12:00:00.000000",
        "2026-03-01T12:00:00.500000",
        "2026-03-01T12:00:01.000000",
    )


def test_the_day_follows_the_clock_and_not_the_first_row() -> None:
    from_night = simulate(duration_s=DAY_S, period_s=300)
    from_evening = simulate(duration_s=DAY_S, period_s=300, start=datetime(2026, 1, 5, 19))

    flow_at_19h = column(from_night, "flow_m3h")[19 * 12 : 20 * 12].mean()
    assert column(from_night, "flow_m3h")[:12].mean() < 0.8 * flow_at_19h
    assert column(from_evening, "flow_m3h")[:12].mean() == pytest.approx(flow_at_19h, rel=0.15)


def test_three_days_take_well_under_two_seconds() -> None:
    begin = time.perf_counter()
    recording = simulate(duration_s=3 * DAY_S)

    assert len(recording.values) == 25920
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_normal_values_are_plausible(seed: int) -> None:
    values = simulate(duration_s=3 * DAY_S, period_s=60, seed=seed).values

    low = [900, 70, 0.2, 1.5, 15, 4, 15, 1.0]
    high = [1650, 215, 0.5, 4.5, 45, 32, 55, 3.0]
    assert (values > low).all()
    assert (values < high).all()


def test_power_is_hydraulic_power_over_efficiency(normal_day: Recording) -> None:
    ratio = power_by_hand(normal_day) / column(normal_day, "power_kw")

    assert ratio.mean() == pytest.approx(1, abs=0.002)  # no bias
    assert np.abs(ratio - 1).max() < 0.07  # noise of five sensors
    assert ratio.std() < 0.015


def test_head_follows_the_affinity_laws(normal_day: Recording) -> None:
    n, q = column(normal_day, "speed_rpm") / 1480, column(normal_day, "flow_m3h") / 180
    rise_bar = column(normal_day, "discharge_pressure_bar") - column(normal_day, "suction_pressure_bar")
    head_m = rise_bar * 1e5 / (998 * 9.81)

    error_m = head_m - (40 * n**2 - 8 * q**2)
    assert error_m.mean() == pytest.approx(0, abs=0.02)
    assert error_m.std() < 0.35  # about 1 % of the rated 32 m


def test_flow_follows_the_system_curve(normal_day: Recording) -> None:
    n, q = column(normal_day, "speed_rpm") / 1480, column(normal_day, "flow_m3h") / 180

    static_m = 40 * n**2 - 26 * q**2
    assert static_m.mean() == pytest.approx(14, abs=0.3)  # the sump level moves by 0.25 m either way
    assert static_m.std() < 0.6


def test_current_has_an_active_and_a_magnetising_part(normal_day: Recording) -> None:
    volts = 400 * column(normal_day, "speed_rpm") / 1480
    active = 1000 * column(normal_day, "power_kw") / (math.sqrt(3) * volts)

    ratio = np.sqrt(active**2 + 14**2) / column(normal_day, "motor_current_a")
    assert ratio.mean() == pytest.approx(1, abs=0.002)
    assert np.abs(ratio - 1).max() < 0.06


def test_few_causes_explain_normal_operation(normal_day: Recording) -> None:
    standard = (normal_day.values - normal_day.values.mean(axis=0)) / normal_day.values.std(axis=0)
    variances = np.linalg.svd(standard, compute_uv=False) ** 2 / standard.size

    assert variances[:3].sum() > 0.97  # a row model with a code of three or four can learn it


def test_readings_have_the_resolution_of_the_sensor(normal_day: Recording) -> None:
    for decimals, readings in zip((0, 1, 3, 2, 1, 2, 1, 2), normal_day.values.T, strict=True):
        assert np.array_equal(np.round(readings, decimals), readings)


def test_effects_cover_every_fault() -> None:
    assert set(EFFECTS) == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_rows_before_a_fault_are_bit_identical(name: str) -> None:
    normal = simulate(duration_s=2 * HOUR_S, seed=5)
    faulty = simulate(duration_s=2 * HOUR_S, seed=5, faults=[Fault(name, HOUR_S, 1200)])

    assert faulty.values[:360].tobytes() == normal.values[:360].tobytes()
    assert not np.array_equal(faulty.values[360:480], normal.values[360:480])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_what_it_claims(name: str) -> None:
    morning = datetime(2026, 1, 5, 4)  # the demand rises, so that a stuck meter is soon wrong
    normal = simulate(duration_s=4 * HOUR_S, start=morning)
    faulty = simulate(duration_s=4 * HOUR_S, start=morning, faults=[Fault(name, HOUR_S, 2 * HOUR_S)])
    grown = slice(900, 1080)  # the last quarter of the fault

    changed, untouched = EFFECTS[name]
    noise = dict(zip(COLUMNS, (4.5, 0.9, 0.003, 0.011, 0.17, 0.11, 0.15, 0.02), strict=True))
    for column_name, sign in changed:
        change = (column(faulty, column_name) - column(normal, column_name))[grown]
        assert (sign * change).mean() >= 0
        assert np.abs(change).mean() > 7 * noise[column_name]
    for column_name in untouched:
        assert np.array_equal(column(faulty, column_name), column(normal, column_name))


@pytest.mark.parametrize("name", FAULTS)
def test_labels_are_exactly_the_window(name: str) -> None:
    recording = simulate(duration_s=HOUR_S, faults=[Fault(name, 600, 900)])

    assert recording.labels.tolist() == [0] * 60 + [1] * 90 + [0] * 210


@pytest.mark.parametrize("name", FAULTS)
def test_the_strongest_fault_still_gives_numbers(name: str) -> None:
    several = [Fault(other, 0, HOUR_S, 5) for other in (name, name, "cavitation", "leak")]
    recording = simulate(duration_s=HOUR_S, faults=several)

    assert np.isfinite(recording.values).all()
    assert (column(recording, "flow_m3h") >= 0).all()
    assert recording.values.min() > -1  # no pressure below vacuum


def test_a_stuck_meter_repeats_the_value_it_showed() -> None:
    normal = simulate(duration_s=HOUR_S)
    stuck = simulate(duration_s=HOUR_S, faults=[Fault("sensor-stuck", 600, 600)])

    assert set(column(stuck, "flow_m3h")[60:120]) == {column(normal, "flow_m3h")[60]}
    assert np.array_equal(stuck.values[120:], normal.values[120:])


def test_a_gentle_fault_breaks_a_relation_within_the_normal_range(normal_day: Recording) -> None:
    drift = simulate(duration_s=DAY_S, period_s=30, faults=[Fault("sensor-drift", 14 * HOUR_S, 2 * HOUR_S)])
    active = drift.labels == 1

    pressure = column(drift, "discharge_pressure_bar")[active]
    assert pressure.max() < column(normal_day, "discharge_pressure_bar").max()
    assert (power_by_hand(drift) / column(drift, "power_kw"))[active][-60:].mean() > 1.06


def test_bearing_wear_grows_and_cavitation_fluctuates() -> None:
    normal = simulate(duration_s=2 * HOUR_S)
    worn = simulate(duration_s=2 * HOUR_S, faults=[Fault("bearing-wear", 0, 2 * HOUR_S)])
    cavitating = simulate(duration_s=2 * HOUR_S, faults=[Fault("cavitation", 0, 2 * HOUR_S)])

    creep = column(worn, "vibration_mm_s") - column(normal, "vibration_mm_s")
    assert creep[:20].mean() < 0.1
    assert 0.4 < creep[300:320].mean() < 0.8 * creep[-20:].mean()
    assert np.diff(column(cavitating, "flow_m3h")[360:]).std() > 3 * np.diff(column(normal, "flow_m3h")[360:]).std()


def test_severity_scales_and_overlapping_faults_add_up() -> None:
    def current(*faults: Fault) -> float:
        return float(column(simulate(duration_s=600, faults=faults), "motor_current_a").mean())

    one = current(Fault("electrical", 0, 600)) - current()
    two = current(Fault("electrical", 0, 600, 2.0)) - current()
    pair = current(Fault("electrical", 0, 600), Fault("electrical", 0, 600)) - current()
    assert two == pytest.approx(2 * one, rel=0.02)
    assert pair == two


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("45", 45), ("0", 0), ("1.5h", 5400), (" 10s ", 10)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5s", "5 m", "2w", "1e3", "1h30m", "nan", "inf", "٣s", "1.", "9" * 400])
def test_bad_durations_are_named(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_duration(text)

    assert repr(text) in str(caught.value)
    assert "expected a number and s, m, h or d" in str(caught.value)


@given(st.text("0123456789.smhde+- ", max_size=12))
def test_any_text_is_a_finite_duration_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert 0 <= parse_duration(text) < math.inf


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cavitation@2h+20m", Fault("cavitation", 7200, 1200)),
        ("leak@90m+10m*0.5", Fault("leak", 5400, 600, 0.5)),
        ("sensor-stuck@0+1d", Fault("sensor-stuck", 0, 86400)),
        (" electrical@30 + 5s * 2 ", Fault("electrical", 30, 5, 2)),
    ],
)
def test_faults_are_parsed(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@given(
    name=st.sampled_from(sorted(FAULTS)),
    start=st.integers(0, 10**6),
    duration=st.integers(1, 10**6),
    unit=st.sampled_from(["", "s", "m", "h", "d"]),
    tenths=st.integers(1, 50),
)
def test_parse_reads_what_is_written(name: str, start: int, duration: int, unit: str, tenths: int) -> None:
    fault = Fault.parse(f"{name}@{start}{unit}+{duration}{unit}*{tenths / 10}")

    size = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert fault == Fault(name, start * size, duration * size, tenths / 10)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a part is missing"),
        ("leak", "a part is missing"),
        ("leak@5m", "a part is missing"),
        ("leak+5m@2h", "a part is missing"),
        ("leak@5m+2m*1*1", "a part is missing"),
        ("leek@5m+2m", "unknown fault 'leek'; known faults: bearing-wear, cavitation, leak,"),
        ("leak@soon+2m", "not a duration: 'soon'"),
        ("leak@5m+2x", "not a duration: '2x'"),
        ("leak@-5m+2m", "not a duration: '-5m'"),
        ("leak@5m+0s", "duration_s is 0.0, expected more than 0"),
        ("leak@5m+2m*0", "severity is 0.0, expected in (0, 5]"),
        ("leak@5m+2m*9", "severity is 9.0, expected in (0, 5]"),
        ("leak@5m+2m*nan", "the severity 'nan' is not a number"),
    ],
)
def test_bad_faults_say_what_is_wrong_and_what_is_expected(text: str, complaint: str) -> None:
    with pytest.raises(InputError) as caught:
        Fault.parse(text)

    message = str(caught.value)
    assert repr(text) in message
    assert complaint in message
    assert "NAME@START+DURATION[*SEVERITY]" in message


@given(st.text("leak@0123456789.smhd+*- ", max_size=12))
def test_any_text_is_a_fault_or_an_input_error(text: str) -> None:
    with suppress(InputError):
        assert Fault.parse(f"leak@{text}").name == "leak"


@pytest.mark.parametrize(
    ("start_s", "duration_s", "severity"),
    [(-1.0, 5.0, 1.0), (math.nan, 5.0, 1.0), (0.0, -5.0, 1.0), (0.0, math.inf, 1.0), (0.0, 5.0, math.nan)],
)
def test_faults_are_checked_however_they_are_made(start_s: float, duration_s: float, severity: float) -> None:
    with pytest.raises(InputError, match="leak: "):
        Fault("leak", start_s, duration_s, severity)


@pytest.mark.parametrize(
    ("duration_s", "period_s", "complaint"),
    [
        (60, 0, "period_s is 0"),
        (60, -1, "period_s is -1"),
        (60, math.nan, "period_s is nan"),
        (5, 10, "duration_s is 5, expected 10 or more"),
        (math.inf, 10, "duration_s is inf"),
        (1e9, 1e-3, "more than 10000000 rows"),
        (1e12, 1e7, "years have four digits"),
    ],
)
def test_bad_lengths_are_refused(duration_s: float, period_s: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        simulate(duration_s=duration_s, period_s=period_s)


def test_bad_seed_and_zoned_start_are_refused() -> None:
    with pytest.raises(InputError, match="seed is -1"):
        simulate(duration_s=60, seed=-1)
    with pytest.raises(InputError, match="without zone"):
        simulate(duration_s=60, start=datetime(2026, 1, 5, tzinfo=UTC))


def test_a_fault_must_lie_inside_the_recording_and_touch_a_row() -> None:
    with pytest.raises(InputError, match="fault leak lasts from 500 s to 700 s, but the recording ends at 600 s"):
        simulate(duration_s=600, faults=[Fault("leak", 500, 200)])
    with pytest.raises(InputError, match="fault leak lasts from 12 s to 15 s, between two rows 10 s apart"):
        simulate(duration_s=600, faults=[Fault("leak", 12, 3)])

    whole = simulate(duration_s=0.3, period_s=0.1, faults=[Fault("leak", 0.1, 0.2)])
    assert whole.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("labels", [False, True])
def test_csv_lines_round_trip(labels: bool) -> None:
    recording = simulate(duration_s=HOUR_S, faults=[Fault("blocked-filter", 600, 900)])
    lines = list(csv_lines(recording, labels=labels))
    rows = list(csv.DictReader(io.StringIO("".join(lines))))

    assert lines[0] == "timestamp," + ",".join(COLUMNS) + (",label\n" if labels else "\n")
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    assert [row["timestamp"] for row in rows] == list(recording.timestamps)
    values = [[float(row[name]) for name in COLUMNS] for row in rows]
    assert np.array_equal(values, recording.values)  # exactly: a reading has no more decimals than the file
    assert [int(row.get("label", 0)) for row in rows] == (recording.labels.tolist() if labels else [0] * len(rows))


def test_csv_times_are_evenly_spaced() -> None:
    lines = list(csv_lines(simulate(duration_s=DAY_S, period_s=600)))[1:]
    times = [datetime.fromisoformat(line.split(",")[0]) for line in lines]

    assert {later - sooner for sooner, later in pairwise(times)} == {timedelta(minutes=10)}


def test_csv_cells_have_the_decimals_of_the_sensor() -> None:
    cells = next(iter(list(csv_lines(simulate(duration_s=60)))[1:])).strip().split(",")[1:]

    assert [len(cell.partition(".")[2]) for cell in cells] == [0, 1, 3, 2, 1, 2, 1, 2]
