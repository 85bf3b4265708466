"""What people pass: arrays, ragged lists, data frames in long form; and what is refused, in words."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from elman.tasks.series import RecurrentClassifier, SequenceScaler, from_frame
from elman.tasks.series.frames import from_columns
from elman.tasks.series.inputs import as_sequences


def test_forms_of_sequences():
    cube = np.arange(24.0).reshape(2, 4, 3)
    assert all(np.array_equal(a, b) for a, b in zip(as_sequences("t", cube), cube, strict=True))
    assert [row.shape for row in as_sequences("t", cube[:, :, 0])] == [(4, 1), (4, 1)]  # one feature
    ragged = [np.zeros((3, 2)), np.ones((5, 2), np.int8)]
    assert [row.shape for row in as_sequences("t", ragged)] == [(3, 2), (5, 2)]
    assert [row.shape for row in as_sequences("t", [[1, 2, 3], [4]])] == [(3, 1), (1, 1)]
    boxed = np.empty(2, object)
    boxed[:] = ragged
    assert [row.shape for row in as_sequences("t", boxed)] == [(3, 2), (5, 2)]
    assert all(row.dtype == np.float64 for row in as_sequences("t", ragged))


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros(5), ValueError, "Reshape your data"),
        (np.zeros((2, 3, 4, 5)), ValueError, "join the feature axes"),
        ([], ValueError, "at least 1 sequence"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], ValueError, "sequence 1 has 1 features, the first one 2"),
        ([np.zeros((0, 2))], ValueError, "sequence 0 has 0 steps"),
        ([[1.0, np.nan]], ValueError, r"sequence 0 has a NaN at \[1, 0\]; pass missing='mask'"),
        ([[1.0, np.inf]], ValueError, r"sequence 0 has an infinity at \[1, 0\]"),
        ([[[np.nan, 1.0], [2.0, -np.inf]]], ValueError, r"sequence 0 has an infinity at \[1, 1\]"),
        ([["a", "b"]], ValueError, "got strings"),
        ([np.zeros((2, 1), complex)], ValueError, "Complex data not supported"),
    ],
)
def test_what_is_no_sequence_is_refused(x, error, words):
    with pytest.raises(error, match=words):
        as_sequences("t", x)


def frames():
    """The same two series in long form, out of order, in the libraries that are here."""
    columns = {
        "id": ["b", "b", "a", "b", "a"],
        "time": ["2026-01-02", "2026-01-01", "2026-01-05", "2026-01-03", "2026-01-06"],
        "x": [2.0, 1.0, 10.0, 3.0, 11.0],
        "z": [0, 0, 1, 1, 1],
    }
    for name in ("pandas", "polars"):
        library = pytest.importorskip(name)
        yield library.DataFrame(columns)
    pandas = pytest.importorskip("pandas")
    yield pandas.DataFrame(columns).assign(time=lambda frame: pandas.to_datetime(frame["time"]))


def test_long_form_through_narwhals():
    pytest.importorskip("narwhals")
    for frame in frames():
        series = from_frame(frame)
        assert series.ids == ["b", "a"]  # in the order in which they appear
        assert series.names == ["x", "z"]
        assert np.array_equal(series[0], [[1, 0], [2, 0], [3, 1]])
        assert np.array_equal(series[1], [[10, 1], [11, 1]])
        assert series.times[1][0] == np.datetime64("2026-01-05")
        assert np.array_equal(from_frame(frame, values=["x"])[0], [[1], [2], [3]])
        again = as_sequences("t", frame)  # estimators take it as it is
        assert np.array_equal(again[0], series[0])
        model = RecurrentClassifier(hidden_size=2, max_epochs=1, random_state=0).fit(frame, ["left", "right"])
        assert model.predict(frame).shape == (2,)
        with pytest.raises(ValueError, match="there is no column 'day'; there are id, time, x, z"):
            from_frame(frame, time="day")


def columns(times, values=None, **options):
    values = np.arange(float(len(times))) if values is None else values
    return from_columns({"t": np.array(times), "y": values}, id=None, time="t", values=["y"], **options)


def test_ids_may_be_of_several_kinds():
    ids = np.array(["b", 1, "b", 2, 1], object)
    series = from_columns({"s": ids, "y": [1.0, 2, 3, 4, 5]}, id="s", time=None, values=["y"])
    assert series.ids == ["b", 1, 2]
    assert [row[:, 0].tolist() for row in series] == [[1, 3], [2, 5], [4]]


def test_columns_without_values_are_refused():
    with pytest.raises(ValueError, match="there is no column of values"):
        from_columns({"t": [1, 2]}, id=None, time="t", values=[])


def test_irregular_times_are_refused_or_told():
    days = ["2026-01-01", "2026-01-02", "2026-01-05", "2026-01-06", "2026-01-07"]
    with pytest.raises(
        ValueError, match="the step from 2026-01-02 to 2026-01-05 is 3 times the usual one; fill the gap"
    ):
        columns(days)
    assert np.array_equal(columns(days, irregular="feature")[0][:, 1], [1, 1, 3, 1, 1])
    filled = columns(days, irregular="fill")
    assert np.array_equal(np.isnan(filled[0][:, 0]), [False, False, True, True, False, False, False])
    assert str(filled.times[0][2])[:10] == "2026-01-03"
    with pytest.raises(ValueError, match=r"is 2.5 times"):
        columns([0.0, 1.0, 2.0, 4.5, 5.5], irregular="fill")
    twice = ["2026-01-01", "2026-01-01", "2026-01-02"]
    with pytest.raises(ValueError, match=r"two rows have the time 2026-01-01; give the column .* as id, or time=None"):
        columns(twice)
    with pytest.raises(ValueError, match="series a: two rows have the time 2026-01-01; keep one of them"):
        from_columns({"s": ["a"] * 3, "t": twice, "y": [1, 2, 3]}, id="s", time="t", values=["y"])


def test_times_with_an_offset_are_those_of_utc():
    for ends in (["+01:00"] * 3, ["+0100"] * 3, [" +01"] * 3, ["+01:00", "-02:30", "Z"]):
        days = [f"2026-01-0{k + 1} 12:00{end}" for k, end in enumerate(ends)]
        expected = np.array([f"2026-01-0{k}T11:00" for k in (1, 2, 3)], "datetime64[m]")
        expected[1:] += np.array([210, 60] if "Z" in ends else [0, 0], "timedelta64[m]")
        assert np.array_equal(columns(days, irregular="feature").times[0], expected)
    with pytest.raises(ValueError, match="column 't', row 2: '2026-01-02 12:00' has no offset from UTC"):
        columns(["2026-01-01 12:00+01:00", "2026-01-02 12:00"])


def test_what_is_no_time_or_id_is_said_with_its_row():
    with pytest.raises(ValueError, match="column 't', row 2: '02/01/2026' is no time; times are numbers"):
        columns(["2026-01-01", "02/01/2026"])
    with pytest.raises(ValueError, match="row 3: '02/01/2026' is no time"):
        columns(["2026-01-01", "02/01/2026"], first_row=2)
    with pytest.raises(ValueError, match="column 't', row 2: NaT is no time"):
        columns(["2026-01-01", "NaT"])
    for keys in (["a", ""], np.array(["a", None], object), [1.0, np.nan]):
        with pytest.raises(ValueError, match=r"column 's', row 2: .* is no id; give each row one"):
            from_columns({"s": keys, "y": [1.0, 2.0]}, id="s", time=None, values=["y"])


def test_months_are_regular_though_their_lengths_differ():
    months = [f"{year}-{month:02d}-01" for year in (2024, 2025) for month in range(1, 13)]
    assert len(columns(months)[0]) == 24
    with pytest.raises(ValueError, match="is 2 times the usual one"):
        columns(months[:5] + months[6:])
    assert np.isnan(columns(months[:5] + months[6:], irregular="fill")[0][5, 0])
    assert len(columns([f"2026-01-01 {hour:02d}:00:00" for hour in range(24)])[0]) == 24


def test_a_scaler_for_pipelines():
    rng = np.random.default_rng(0)
    rows = [5 + 3 * rng.standard_normal((T, 2)) for T in (10, 20, 30)]
    rows[1][4, 0] = np.nan
    scaler = SequenceScaler().fit(rows)
    scaled = np.concatenate(scaler.transform(rows))
    assert np.abs(np.nanmean(scaled, axis=0)).max() < 1e-12
    assert np.abs(np.nanstd(scaled, axis=0) - 1).max() < 1e-12
    back = scaler.inverse_transform(scaler.transform(rows))
    assert all(np.allclose(a, b, equal_nan=True) for a, b in zip(back, rows, strict=True))
    own = SequenceScaler(scaling="series").fit(rows).transform(rows)
    assert all(abs(np.nanmean(row)) < 1e-12 for row in own)
    assert np.array_equal(scaler.transform([np.full((3, 2), 7.0)])[0], scaler.transform(np.full((1, 3, 2), 7.0))[0])
    assert SequenceScaler().fit([np.ones((4, 1))]).transform([np.ones((4, 1))])[0].max() == 0  # constant: scale 1
