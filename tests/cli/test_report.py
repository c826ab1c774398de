"""``drivebay report``: only reads, and leaves a file that can be sent back."""

from __future__ import annotations

import json
import socketserver
import threading

import pytest

from drivebay.cli import failures
from drivebay.cli import report as reports
from drivebay.driver import open_link


def sent_to(bench):
    return [each["text"] for each in bench.log.named("message")]


def test_only_queries_of_the_list_reach_the_instrument(drivebay, bench, tmp_path):
    drivebay("report", bench.resource, "--output", str(tmp_path / "report.json"))

    sent = sent_to(bench)
    assert sent
    assert set(sent) <= set(reports.ALLOWED)
    assert all(each.endswith("?") for each in sent)
    assert sent.count("*IDN?") == reports.ROUNDS + 1
    assert not bench.log.named("output_on", "device_clear", "abort")


def test_nothing_else_can_be_asked(bench):
    with open_link(bench.resource) as link:
        questions = reports.Questions(link)

        with pytest.raises(ValueError, match="not one of"):
            questions.ask(":READ?")

    assert sent_to(bench) == []


def test_an_output_that_is_on_stays_on(drivebay, bench, tmp_path):
    with open_link(bench.resource) as link:
        link.write(":SOUR:VOLT 0.1")
        link.write(":OUTP ON")
        assert link.query(":OUTP?") == "1"

    drivebay("report", bench.resource, "--output", str(tmp_path / "report.json"))

    assert bench.instrument.output_on is True


def test_the_report_says_what_is_needed_to_understand_it(drivebay, bench, tmp_path):
    path = tmp_path / "report.json"

    done = drivebay("report", bench.resource, "--output", str(path), "--json")

    found = json.loads(path.read_text("utf-8"))
    assert done.code == failures.OK
    assert done.json["files"] == [str(path), str(path.with_suffix(".md"))]
    assert found["idn"].startswith("KEITHLEY INSTRUMENTS INC.,MODEL 2400")
    assert found["plugin"]["name"] == "keithley_2400"
    assert found["round_trip_ms"]["count"] == reports.ROUNDS
    times = found["round_trip_ms"]
    assert times["min"] <= times["median"] <= times["p95"] <= times["max"]
    assert found["sent"]["*IDN?"] == reports.ROUNDS + 1
    assert found["versions"]["python"]
    assert found["transcript"][0]["data"] == "*IDN?\n"


def test_errors_in_the_queue_are_told_as_found_before(drivebay, bench, tmp_path):
    with open_link(bench.resource) as link:
        link.write(":NO:SUCH:COMMAND")
        link.query("*IDN?")

    done = drivebay("report", bench.resource, "--output", str(tmp_path / "r.json"), "--json")

    assert [each.split(",")[0] for each in done.json["errors_before"]] == ["-113"]
    assert done.json["errors_after"] == []
    readable = (tmp_path / "r.md").read_text("utf-8")
    assert "-113" in readable
    assert "taken out of the instrument" in readable


def test_without_a_name_the_file_is_called_after_the_model(drivebay, bench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    drivebay("report", bench.resource)

    names = sorted(each.name for each in tmp_path.iterdir())
    assert [name.split(".")[-1] for name in names] == ["json", "md"]
    assert all(name.startswith("drivebay-report-model-2400-") for name in names)


class Terse(socketserver.StreamRequestHandler):
    """An instrument that knows who it is and keeps silent at everything else."""

    def handle(self):
        for line in self.rfile:
            if line.strip() == b"*IDN?":
                self.wfile.write(b"ACME,MODEL 1,7,1.0\n")


@pytest.fixture
def terse():
    """The address of an instrument that answers ``*IDN?`` only."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Terse) as server:
        server.daemon_threads = True
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"TCPIP::127.0.0.1::{server.server_address[1]}::SOCKET"
        server.shutdown()
        serving.join()


def test_a_query_that_is_not_answered_is_told_and_asked_once(terse):
    found = reports.examine(terse, timeout_s=0.1)

    assert found["idn"] == "ACME,MODEL 1,7,1.0"
    assert set(found["unanswered"]) == set(reports.ALLOWED) - {"*IDN?"}
    assert all(count == 1 for query, count in found["sent"].items() if query != "*IDN?")
    assert found["round_trip_ms"]["count"] == reports.ROUNDS
    assert found["plugin"]["name"] is None
    assert "did not answer" in reports.as_markdown(found)


def test_where_nobody_listens_there_is_no_report(drivebay, tmp_path):
    path = tmp_path / "report.json"

    done = drivebay("report", "TCPIP::127.0.0.1::1::SOCKET", "--output", str(path))

    assert done.code == failures.NOT_FOUND
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_one_line(drivebay, bench, tmp_path):
    path = tmp_path / "no" / "report.json"

    done = drivebay("report", bench.resource, "--output", str(path), "--json")

    assert done.code == failures.FAILED
    assert str(path) in done.json["error"]["message"]
    assert done.err == f"error: {path}: No such file or directory\n"


def test_an_instrument_can_be_called_by_its_name_on_the_bench(
    drivebay, bench, bench_file, tmp_path
):
    path = bench_file()
    elsewhere = path.rename(tmp_path / "elsewhere.yaml")

    words = ["--bench", str(elsewhere), "--output", str(tmp_path / "r.json"), "--json"]
    done = drivebay("report", "smu1", *words)

    assert done.code == failures.OK
    assert done.json["resource"] == bench.resource
