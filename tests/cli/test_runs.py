"""``drivebay runs``: list, show, export, plot."""

from __future__ import annotations

import csv
import json

import pytest

from drivebay import Bay
from drivebay.cli import failures


@pytest.fixture
def runs(bench):
    """Two runs: ids, the older first."""
    with Bay() as bay, bay.open(bench.resource) as smu:
        return [
            smu.iv_sweep(start_v=0, stop_v=0.5, points=points, compliance_a=0.01).id
            for points in (3, 30)
        ]


def test_without_runs_the_list_says_how_to_make_one(drivebay):
    done = drivebay("runs", "list")

    assert done.code == failures.OK
    assert "drivebay demo" in done.out
    assert drivebay("runs", "list", "--json").json == []


def test_the_list_begins_with_the_newest(drivebay, runs):
    done = drivebay("runs", "list", "--json")
    text = drivebay("runs", "list").out.splitlines()

    assert [each["run"] for each in done.json] == runs[::-1]
    assert done.json[0]["rows"] == 30
    assert text[1].startswith(runs[1])
    assert len(drivebay("runs", "list", "--limit", "1", "--json").json) == 1


def test_show_has_how_it_was_made_and_some_rows(drivebay, runs):
    done = drivebay("runs", "show", runs[1])

    assert f"{runs[1]}  iv_sweep  done, 30 rows" in done.out
    assert "compliance_a" in done.out
    rows = [line.split()[0] for line in done.out.splitlines() if line.strip()[:1].isdigit()]
    assert rows[0].startswith(runs[1][:8])
    assert rows[1] == "0"
    assert rows[-1] == "29"


def test_show_gives_all_points_as_json(drivebay, runs):
    done = drivebay("runs", "show", "last", "--json")

    assert done.json["run"] == runs[1]
    assert len(done.json["columns"]["current_a"]) == 30


def test_a_run_nobody_knows_exits_with_3(drivebay, runs):
    done = drivebay("runs", "show", "nope", "--json")

    assert done.code == failures.NOT_FOUND
    assert done.json["error"]["type"] == "RunNotFoundError"
    assert runs[0] in done.err


def test_an_export_to_standard_output_is_csv_and_nothing_else(drivebay, runs):
    done = drivebay("runs", "export", "last-1")

    rows = list(csv.reader(done.out.splitlines()))
    assert rows[0] == ["voltage_v [V]", "current_a [A]", "time_s [s]", "in_compliance"]
    assert len(rows) == 4


def test_an_export_to_a_file_takes_its_kind_from_the_name(drivebay, runs, tmp_path):
    as_csv, as_json = tmp_path / "iv.csv", tmp_path / "iv.json"

    told = drivebay("runs", "export", "last", "--output", str(as_csv), "--json")
    drivebay("runs", "export", "last", "--output", str(as_json))

    assert told.json["files"] == [str(as_csv), f"{as_csv}.json"]
    assert len(as_csv.read_text("utf-8").splitlines()) == 31
    assert json.loads(as_json.read_text("utf-8"))["run"] == runs[1]


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet", ".h5", ".nc"])
def test_an_export_replaces_a_file_only_with_force(drivebay, runs, tmp_path, ending):
    pytest.importorskip("pyarrow", reason="needs the extra [export]")
    target = tmp_path / f"iv{ending}"
    target.write_bytes(b"the thesis")

    refused = drivebay("runs", "export", "last", "-o", str(target))
    kept = target.read_bytes()
    forced = drivebay("runs", "export", "last", "-o", str(target), "--force")

    assert (refused.code, kept) == (failures.FAILED, b"the thesis")
    assert "--force" in refused.err
    assert forced.code == failures.OK
    assert target.read_bytes() != kept


def test_the_kind_of_an_export_may_be_given_apart_from_the_name(drivebay, runs, tmp_path):
    target = tmp_path / "iv.dat"

    unknown = drivebay("runs", "export", "last", "-o", str(target))
    drivebay("runs", "export", "last", "-o", str(target), "--kind", "json")

    assert "cannot export a run as 'dat'; kinds are csv, json" in unknown.err
    assert json.loads(target.read_text("utf-8"))["run"] == runs[1]


def test_every_kind_of_export_can_be_asked_for():
    from drivebay._core.runs.export import KINDS
    from drivebay.cli.runs import export_run

    (choice,) = [option.type for option in export_run.params if option.name == "kind"]

    assert list(choice.choices) == list(KINDS)


def test_an_export_that_cannot_be_written_fails_in_one_line(drivebay, runs, tmp_path):
    done = drivebay("runs", "export", "last", "--output", str(tmp_path / "no" / "iv.csv"))

    assert done.code == failures.FAILED
    assert len(done.err.strip().splitlines()) == 1


def test_a_plot_is_a_picture(drivebay, runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "iv.svg"

    done = drivebay("runs", "plot", "last", "--output", str(picture))

    assert done.code == failures.OK
    assert "<svg" in picture.read_text("utf-8")


def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_measured(drivebay, bench):
    words = ["--start-v", "0", "--stop-v", "1", "--points", "3", "--compliance-a", "1mA"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *words, "--plot", "iv.doc")

    assert done.code == failures.USAGE
    assert ".png" in done.err
    assert not bench.log.named("connection_opened")
