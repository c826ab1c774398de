"""The run file's texts and numbers, and its exports: nothing is lost or becomes another."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import RunError, StoreError
from drivebay._core.runs import RunStore, fileformat, plain

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.binary(max_size=8),
    TEXTS,
)
DATA = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
)


def same(one: object, other: object) -> bool:
    """Equal, where a not-a-number is equal to itself."""
    return repr(one) == repr(other)


@given(DATA)
def test_any_data_comes_back_as_it_was(value):
    text = plain.to_text(value, "value")

    assert same(plain.from_text(text), value)
    json.loads(text, parse_constant=pytest.fail)  # strict: NaN and Infinity are no JSON


@given(DATA)
def test_other_peoples_json_never_meets_a_number_json_does_not_have(value):
    revived = plain.from_text(plain.to_text(value, "value"))

    json.dumps(plain.strict(revived), allow_nan=False)


def test_keys_of_a_user_are_never_taken_for_ours():
    sly = {"$float": "nan", "nested": {"$complex": [1, 2]}, "$$": {"$bytes": "00"}}

    assert plain.from_text(plain.to_text(sly, "value")) == sly
    assert math.isnan(plain.from_text('{"$float": "nan"}'))  # the control


def test_numpy_and_friends_become_plain_numbers():
    given_ = {
        "scalar": np.float64(1.5),
        "count": np.int32(3),
        "flag": np.bool_(True),
        "array": np.array([[1, 2], [3, 4]]),
        "hole": np.array([np.nan]),
        "path": Path("a") / "b",
        "set": {2, 1},
        "pair": (1, 2),
        3: "three",
    }
    back = plain.from_text(plain.to_text(given_, "value"))

    assert math.isnan(back.pop("hole")[0])
    assert back == {
        "scalar": 1.5,
        "count": 3,
        "flag": True,
        "array": [[1, 2], [3, 4]],
        "path": str(Path("a") / "b"),
        "set": [1, 2],
        "pair": [1, 2],
        "3": "three",
    }
    assert [type(back[k]) for k in ("scalar", "count", "flag")] == [float, int, bool]


CHUNKS = st.lists(
    st.tuples(st.floats(width=64), st.integers(-(2**63), 2**63 - 1), st.booleans()), max_size=30
)


@given(CHUNKS)
def test_a_chunk_comes_back_bit_for_bit(rows):
    columns = fileformat.columns_of([("f", "V", "float"), ("i", "", "int"), ("b", "", "bool")])
    arrays = {
        "f": np.array([r[0] for r in rows], dtype=float),
        "i": np.array([r[1] for r in rows], dtype=np.int64),
        "b": np.array([r[2] for r in rows], dtype=bool),
    }
    count, data = fileformat.encode(columns, arrays)
    back = fileformat.decode(columns, count, data)

    assert count == len(rows)
    assert len(data) == count * fileformat.row_bytes(columns) == 17 * count
    assert {name: a.tobytes() for name, a in back.items()} == {
        name: a.tobytes() for name, a in arrays.items()
    }


def test_numbers_are_little_endian_on_every_machine():
    columns = fileformat.columns_of([("f", "V", "float"), ("i", "", "int")])
    big = {"f": np.array([1.0], ">f8"), "i": np.array([258], ">i4")}

    assert fileformat.encode(columns, big)[1].hex() == "000000000000f03f" + "0201000000000000"


@given(st.integers(0, 5), st.integers(0, 5), st.binary(min_size=1, max_size=40), st.data())
def test_a_checksum_knows_every_bit_and_the_place(number, first, data, draw):
    at = draw.draw(st.integers(0, 8 * len(data) - 1))
    flipped = bytearray(data)
    flipped[at // 8] ^= 1 << at % 8
    right = fileformat.chunk_crc32(number, first, 1, 0, data)

    assert right == fileformat.chunk_crc32(number, first, 1, 0, bytes(data))
    assert right != fileformat.chunk_crc32(number, first, 1, 0, bytes(flipped))
    assert right != fileformat.chunk_crc32(number + 1, first, 1, 0, data)
    assert right != fileformat.chunk_crc32(number, first + 1, 1, 0, data)


# -- exports -------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(tmp_path / "runs")
    columns = [("current_a", "A", "float"), ("n", "", "int"), ("in_compliance", "", "bool")]
    with store.create(method="iv_sweep", columns=columns, parameters={"start_v": -1}) as writer:
        writer.append(
            {"current_a": [0.1, -1e-300, math.nan], "n": [1, -2, 2**60], "in_compliance": [0, 1, 1]}
            | {"in_compliance": np.array([False, True, True])}
        )
    return store


def test_csv_reads_back_to_the_very_same_numbers(store: RunStore, tmp_path: Path):
    written = store.export("last", tmp_path / "sweep.csv")

    assert [p.name for p in written] == ["sweep.csv", "sweep.csv.json"]
    with written[0].open(newline="") as stream:
        head, *rows = csv.reader(stream)
    assert head == ["current_a [A]", "n", "in_compliance"]
    assert [float(row[0]) for row in rows[:2]] == [0.1, -1e-300]
    assert rows[2] == ["nan", str(2**60), "1"]
    about = json.loads(written[1].read_text(encoding="utf-8"))
    assert about["parameters"] == {"start_v": -1}
    assert about["run"] == store.open().id


def test_json_export_is_the_object_of_the_command_line_and_what_happened(
    store: RunStore, tmp_path: Path
):
    (path,) = store.export("last", tmp_path / "run.json")

    found = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert found.items() >= store.open().to_dict().items()
    assert [event["kind"] for event in found["events"]] == ["begin", "end"]
    assert found["kinds"]["n"] == "int"
    assert found["columns"]["n"] == [1, -2, 2**60]
    assert found["columns"]["current_a"][2] is None


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_export_goes_to_a_stream_too(store: RunStore, kind: str):
    stream = io.StringIO()

    assert store.export("last", stream, kind) == ()
    assert stream.getvalue().startswith({"csv": "current_a [A],n", "json": '{"run": '}[kind])


@pytest.mark.parametrize("name", ["=1+1", "+x", "-x", "@SUM(A1)"])
def test_no_spreadsheet_takes_a_column_name_for_a_formula(tmp_path: Path, name: str):
    store = RunStore(tmp_path)
    with store.create(method="m", columns=[(name, "V", "float")]) as writer:
        writer.append({name: [-1.0]})
    stream = io.StringIO()
    store.export("last", stream, "csv")

    head, row = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))
    assert head == [f"'{name} [V]"]
    assert row == ["-1.0"]  # a number is a number, not a formula


def test_an_unknown_kind_is_refused_with_those_there_are(store: RunStore, tmp_path: Path):
    with pytest.raises(RunError, match="as 'xlsx'; kinds are csv, json"):
        store.export("last", tmp_path / "run.xlsx")
    with pytest.raises(RunError, match="as ''"):
        store.export("last", tmp_path / "run")


def test_an_export_that_cannot_be_written_is_a_store_error(store: RunStore, tmp_path: Path):
    with pytest.raises(StoreError, match="cannot write"):
        store.export("last", tmp_path / "no folder" / "run.csv")


def test_the_reader_printed_in_the_reference_reads_a_run(tmp_path: Path):
    page = Path(__file__).parents[2] / "docs/reference/run-file.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(code, scope)
    with RunStore(tmp_path).create(
        method="m", columns=[("a", "V", "float"), ("b", "A", "float")]
    ) as writer:
        writer.append({"a": [1.0, 2.0], "b": [3.0, 4.0]})
        writer.append({"a": [5.0], "b": [6.0]})

    found = scope["read"](writer.path)

    assert {name: a.tolist() for name, a in found.items()} == {
        "a": [1.0, 2.0, 5.0],
        "b": [3.0, 4.0, 6.0],
    }
