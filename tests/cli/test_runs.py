"""``drivebay runs``: list, show, mark, plot, compare, export."""

from __future__ import annotations

import csv
import json
import math
import re

import jsonschema_rs
import pytest

from drivebay import Bay, RunStore
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
    assert len(rows) == 1 + 12


def test_show_has_every_row_of_a_short_run(drivebay, runs):
    done = drivebay("runs", "show", runs[0])

    rows = [line.split()[0] for line in done.out.splitlines() if line.strip()[:1].isdigit()]
    assert rows[1:] == ["0", "1", "2"]


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

    assert unknown.code == failures.USAGE
    assert "must end with .csv, .json, .parquet, .h5 or .nc; or give --kind" in unknown.err
    assert json.loads(target.read_text("utf-8"))["run"] == runs[1]


def test_the_schema_of_a_json_export_is_printed_and_holds(drivebay, runs):
    schema = drivebay("runs", "export", "--schema").json

    assert jsonschema_rs.is_valid(schema, drivebay("runs", "export", "last", "--json").json)
    assert not jsonschema_rs.is_valid(schema, {})


def test_every_kind_of_export_can_be_asked_for():
    from drivebay._core.runs.export import KINDS
    from drivebay.cli.runs.exporting import export_run

    (choice,) = [option.type for option in export_run.params if option.name == "kind"]

    assert list(choice.choices) == list(KINDS)


def test_an_export_that_cannot_be_written_fails_in_one_line(drivebay, runs, tmp_path):
    done = drivebay("runs", "export", "last", "--output", str(tmp_path / "no" / "iv.csv"))

    assert done.code == failures.FAILED
    assert len(done.err.strip().splitlines()) == 1
    assert f"there is no folder: '{tmp_path / 'no'}'" in done.err


def test_a_plot_is_a_picture(drivebay, runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "iv.svg"

    done = drivebay("runs", "plot", "last", "--output", str(picture))

    assert done.code == failures.OK
    assert "<svg" in picture.read_text("utf-8")


def test_a_plot_in_the_terminal_needs_no_file(drivebay, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = drivebay("runs", "plot", "last", "last-1", "--ascii")

    assert done.code == failures.OK
    assert "voltage" in done.out
    assert len(done.out.splitlines()) > 10
    assert list(tmp_path.iterdir()) == []
    assert "voltage" in drivebay("runs", "plot", "--ascii", "--json").json["text"]
    assert drivebay("runs", "plot", "--ascii", "-o", "x.png").code == failures.USAGE


@pytest.mark.parametrize("words", [["--ascii"], ["-o", "empty.png"]])
def test_a_run_without_points_is_no_empty_picture(drivebay, home, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    run = RunStore(home / "runs").create(method="iv_sweep", columns=[("voltage_v", "V", "float")])
    run.finish("failed", "at once")

    done = drivebay("runs", "plot", run.id, *words)

    assert done.code == failures.FAILED
    assert "nothing to draw" in done.err
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_without_a_folder_is_refused_before_anything_is_drawn(drivebay, runs, tmp_path):
    done = drivebay("runs", "plot", "last", "-o", str(tmp_path / "gone" / "iv.png"))

    assert done.code == failures.USAGE
    assert "there is no folder" in done.err


def test_runs_are_drawn_over_each_other(drivebay, runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "both.svg"

    done = drivebay("runs", "plot", *runs, "--output", str(picture), "--json")

    assert done.json == {"run": runs[0], "runs": runs, "files": [str(picture)]}
    assert "<svg" in picture.read_text("utf-8")


# -- finding -------------------------------------------------------------------------------------


def listed(drivebay, *words: str) -> list[str]:
    return [each["run"] for each in drivebay("runs", "list", "--json", *words).json]


def test_a_list_is_narrowed_by_what_is_known_of_the_runs(drivebay, runs):
    drivebay("runs", "tag", runs[0], "wafer7", "good")
    drivebay("runs", "note", runs[1], "the", "probe", "slipped")

    assert listed(drivebay, "--tag", "wafer7", "--tag", "good") == [runs[0]]
    assert listed(drivebay, "--tag", "wafer7", "--tag", "bad") == []
    assert listed(drivebay, "--text", "probe") == [runs[1]]
    assert listed(drivebay, "--text", "points=3 keithley") == [*runs[::-1]]
    assert listed(drivebay, "--method", "iv_sweep", "--since", "2 days") == runs[::-1]
    assert listed(drivebay, "--until", "2 days") == []
    assert listed(drivebay, "--state", "done", "--limit", "1") == [runs[1]]
    assert listed(drivebay, "--all") == runs[::-1]
    assert listed(drivebay, "--model", "2400") == runs[::-1]


def test_a_list_that_is_cut_short_says_so(drivebay, runs):
    done = drivebay("runs", "list", "--limit", "1")

    assert len(done.out.splitlines()) == 2
    assert "older ones" in done.err
    assert drivebay("runs", "list").err == ""


def test_a_list_that_finds_nothing_tells_whether_there_are_runs_at_all(drivebay, runs):
    assert "2 runs in" in drivebay("runs", "list", "--tag", "nothing").out


def test_a_time_nobody_can_read_is_refused(drivebay, runs):
    done = drivebay("runs", "list", "--since", "soon")

    assert done.code == failures.USAGE
    assert "'2 days'" in done.err


# -- looking at one ------------------------------------------------------------------------------


def test_show_is_everything_on_one_screen(drivebay, runs):
    drivebay("runs", "tag", runs[1], "wafer7")
    drivebay("runs", "note", runs[1], "the probe slipped", "--by", "Zoë")

    out = drivebay("runs", "show", runs[1]).out

    for piece in ("KEITHLEY", "2400", "keithley_2400", "compliance_a", "10 mA", "stop_v", "500 mV"):
        assert piece in out
    for piece in ("wafer7", "the probe slipped (Zoë, ", f"{runs[1]}.sqlite", "bytes)", "took"):
        assert piece in out


def test_show_as_json_has_what_people_said_and_what_happened(drivebay, runs):
    drivebay("runs", "tag", runs[1], "wafer7")

    found = drivebay("runs", "show", runs[1], "--json", "--transcript").json

    assert found["tags"] == ["wafer7"]
    assert found["path"].endswith(f"{runs[1]}.sqlite")
    assert {"notes", "limits", "bench", "events", "sources", "transcript"} <= set(found)


def stored(home, **more):
    """A run with all there is, made by hand."""
    store = RunStore(home / "runs")
    writer = store.create(
        method="iv_sweep",
        plugin={"name": "p", "version": "1", "sha256": more.get("sha256", "ab" * 32)},
        resource="R",
        parameters={"stop_v": more.get("stop_v", 1.0), **more.get("parameters", {})},
        columns=[("voltage_v", "V", "float"), ("count", "", "int")],
        sources={"p": more.get("sources", {})},
        bench=more.get("bench"),
        provenance=more.get("provenance"),
    )
    writer.append({"voltage_v": more.get("volts", [0.0, 1.0]), "count": [1, 2]})
    return writer


def test_the_sources_of_a_run_are_written_into_a_new_folder(drivebay, home, tmp_path):
    files = {"driver.py": b"x = 1\n", "sub/more.py": b""}
    run = stored(home, sources=files).finish("done")
    target = tmp_path / "code"

    done = drivebay("runs", "show", run.id, "--sources", str(target), "--json")

    assert {name: (target / name).read_bytes() for name in files} == files
    assert len(done.json["files"]) == 2
    again = drivebay("runs", "show", run.id, "--sources", str(target))
    assert (again.code, "is not empty" in again.err) == (failures.FAILED, True)


def test_a_run_without_sources_says_so(drivebay, home, tmp_path):
    run = stored(home).finish("done")

    done = drivebay("runs", "show", run.id, "--sources", str(tmp_path / "code"))

    assert done.code == failures.FAILED
    assert "holds no source files" in done.err


# -- marking -------------------------------------------------------------------------------------


def test_tags_and_notes_are_put_on_and_tags_taken_away(drivebay, runs):
    assert drivebay("runs", "tag", "last", "good", "wafer7", "--json").json["tags"] == [
        "good",
        "wafer7",
    ]
    assert drivebay("runs", "tag", "last", "good", "--remove", "--json").json["tags"] == ["wafer7"]
    noted = drivebay("runs", "note", "last", "a", "note", "--by", "Max", "--json").json["notes"]
    assert [(note["by"], note["text"]) for note in noted] == [("Max", "a note")]
    assert "Max: a note" in drivebay("runs", "note", "last", "another").out


def test_a_note_tells_its_time_as_the_run_does_its_start(drivebay, runs):
    noted = drivebay("runs", "note", "last", "loose").out
    shown = drivebay("runs", "show", "last").out

    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}"
    assert re.search(rf"started +{moment}", shown)
    assert re.search(rf"note +loose \(.*, {moment}\)", shown)
    assert re.search(rf"^  {moment} .*: loose$", noted, re.MULTILINE)


def test_a_tag_that_is_no_word_is_refused(drivebay, runs):
    done = drivebay("runs", "tag", "last", "two words")

    assert done.code == failures.FAILED
    assert listed(drivebay, "--tag", "two words") == []


def test_what_a_hostile_run_says_cannot_move_the_cursor(drivebay, home):
    writer = stored(home)
    run = writer.finish("failed", "bad \x1b[2J reason")

    for words in (("show", run.id), ("list",), ("compare", run.id, run.id)):
        assert "\x1b" not in drivebay("runs", *words).out


@pytest.mark.parametrize(
    "told", [["x"], {"gate": "x"}, "x", {"gate": {"identity": 5, "bench": {}}}]
)
def test_what_a_strange_run_says_of_its_instruments_fails_nothing(drivebay, home, told):
    run = stored(home, provenance={"instruments": told}).finish("done")

    for words in (("show", run.id), ("list",), ("compare", run.id, run.id)):
        assert drivebay("runs", *words).code == failures.OK


# -- comparing -----------------------------------------------------------------------------------


def test_a_comparison_names_what_differs_and_nothing_else(drivebay, runs):
    found = drivebay("runs", "compare", *runs, "--json").json

    assert found["differences"]["parameters.points"] == [3, 30]
    assert "parameters.stop_v" not in found["differences"]
    assert found["code"][0]["same"]
    assert not found["columns"][0]["by_row"]
    text = drivebay("runs", "compare", *runs).out
    assert "parameters.points" in text
    assert "ran the same" in text


def test_points_are_compared_row_by_row_and_code_line_by_line(drivebay, home):
    first = stored(home, sources={"driver.py": b"a = 1\nb = 2\n"}).finish("done")
    other = stored(
        home,
        volts=[0.5, math.nan],
        stop_v=2.0,
        sha256="cd" * 32,
        sources={"driver.py": b"a = 1\nb = 3\n"},
    ).finish("done")

    found = drivebay("runs", "compare", first.id, other.id, "--json").json
    text = drivebay("runs", "compare", first.id, other.id).out

    volts, count = found["columns"][0]["columns"]
    assert (volts["greatest"], volts["at_row"], volts["one_lacks"]) == (0.5, 0, 1)
    assert (count["greatest"], count["rms"]) == (0.0, 0.0)
    assert {"-b = 2", "+b = 3"} <= set(found["code"][0]["diff"])
    assert " a = 1" in text
    assert "+b = 3" in text
    assert "500 mV" in text


def test_a_comparison_says_yes_and_no(drivebay, home):
    one, other = (stored(home, parameters={"four_wire": wires}) for wires in (True, False))
    ids = [writer.finish("done").id for writer in (one, other)]

    done = drivebay("runs", "compare", *ids)

    assert re.search(r"^parameters.four_wire +yes +no$", done.out, re.MULTILINE)


def test_a_comparison_says_parameters_limits_and_results_with_their_units(drivebay, home):
    ids = []
    for amps in (0.01, 0.1):
        bench = {"limits": {"current_a": [-amps, amps]}}
        writer = stored(home, parameters={"compliance_a": amps, "own_hz": 1e3 * amps}, bench=bench)
        writer.add_values({"resistance_ohm": 1e5 * amps})
        ids.append(writer.finish("done").id)

    said = drivebay("runs", "compare", *ids).out
    found = drivebay("runs", "compare", *ids, "--json").json

    for line in (
        "parameters.compliance_a +10 mA +100 mA",
        "parameters.own_hz +10 Hz +100 Hz",
        "limits.current_a +-10 mA to 10 mA +-100 mA to 100 mA",
        "values.resistance_ohm +1 kΩ +10 kΩ",
    ):
        assert re.search(f"^{line}$", said, re.MULTILINE), line
    assert found["differences"]["parameters.compliance_a"] == [0.01, 0.1]


def test_a_run_without_a_plugin_or_an_instrument_says_so_and_no_more(drivebay, home):
    writer = RunStore(home / "runs").create(method="own", columns=[("voltage_v", "V", "float")])
    writer.append({"voltage_v": [1.0]})
    run = writer.finish("done")

    said = drivebay("runs", "show", run.id).out

    assert "None" not in said
    assert re.search(r"plugin +none: ", said)
    assert "instrument" not in said
    assert "done, 1 row\n" in said


def test_what_differs_is_told_also_where_it_cannot_be_drawn(drivebay, home, runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    other = stored(home).finish("done").id

    done = drivebay("runs", "compare", runs[0], other, "--plot", str(tmp_path / "both.png"))

    assert done.code == failures.FAILED
    assert "parameters" in done.out
    assert "cannot be drawn together" in done.err


def test_two_instruments_of_one_run_are_both_shown_and_long_names_keep_their_distance(
    drivebay, home
):
    at = {"resource": "GPIB0::1::INSTR", "identity": {"model": "A1", "serial": "7"}, "alias": "g"}
    provenance = {"instruments": {"gate": at, "drain": at | {"alias": "d"}}}
    parameters = {"drain_sense_range_a": 0.001}
    stored(home, provenance=provenance, parameters=parameters).finish("done")

    shown = drivebay("runs", "show", "last").out

    assert re.search(r"^  gate +g A1 7 at GPIB0::1::INSTR$", shown, re.MULTILINE)
    assert re.search(r"^  drain +d A1 7 at GPIB0::1::INSTR$", shown, re.MULTILINE)
    assert re.search(r"drain_sense_range_a +1 mA$", shown, re.MULTILINE)


def test_one_run_is_no_comparison(drivebay, runs):
    assert drivebay("runs", "compare", runs[0]).code == failures.USAGE


def test_a_comparison_draws_them_over_each_other(drivebay, runs, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra [plot]")
    picture = tmp_path / "both.png"

    found = drivebay("runs", "compare", *runs, "--plot", str(picture), "--json").json

    assert found["files"] == [str(picture)]
    assert picture.read_bytes()[1:4] == b"PNG"


def test_a_picture_of_an_unknown_kind_is_refused_before_anything_is_measured(drivebay, bench):
    words = ["--start-v", "0", "--stop-v", "1", "--points", "3", "--compliance-a", "1mA"]

    done = drivebay("measure", "iv_sweep", "--on", bench.resource, *words, "--plot", "iv.doc")

    assert done.code == failures.USAGE
    assert ".png" in done.err
    assert not bench.log.named("connection_opened")
