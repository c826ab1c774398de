"""The raw driver: numbers of any SCPI instrument, and only when somebody asks for it by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from drivebay import AbortedError, Bay, LimitError, ParameterError
from drivebay.driver import AnswerError, InstrumentError, LinkTimeoutError
from drivebay.sim import Keithley2400Server, Resistor


@pytest.fixture
def server() -> Iterator[Keithley2400Server]:
    with Keithley2400Server(device=Resistor(1000.0), time_scale=0.0, log_traffic=True) as server:
        yield server


@pytest.fixture
def bay() -> Iterator[Bay]:
    with Bay() as bay:
        yield bay


def opened(bay: Bay, server: Keithley2400Server, **more: Any) -> Any:
    return bay.open(server.resource, plugin="scpi", isolation="inline", **more)


def sent(server: Keithley2400Server) -> list[str]:
    return [event["text"] for event in server.log.named("message")]


def test_it_is_never_chosen_by_itself(bay, server):
    found = bay.find([server.resource])[0]

    assert found.plugin == "keithley_2400"
    assert "scpi" not in [each.plugin for each in found.candidates]
    assert bay.plugins.explain("ACME,NOBODY KNOWS IT,1,1") == []


def test_a_question_is_asked_once_and_its_numbers_fill_rows(bay, server):
    with opened(bay, server) as raw:
        run = raw.measure(
            "query", command=":SOUR:VOLT?;:SENS:CURR:PROT?", columns="level_v,limit_a"
        )

    assert run.state == "done"
    assert list(run.columns) == ["level_v", "limit_a"]
    assert run["limit_a"] == pytest.approx([1.05e-4])


def test_it_sends_the_question_and_that_of_the_error_queue_and_nothing_else(bay, server):
    with opened(bay, server) as raw:
        raw.measure("record", command=":SENS:CURR:PROT?", columns="limit_a", readings=3)

    assert set(sent(server)) == {"*IDN?", ":SYST:ERR?", ":SENS:CURR:PROT?"}
    assert sent(server).count(":SENS:CURR:PROT?") == 3


def test_what_is_recorded_has_a_time_that_rises_by_the_interval_at_least(bay, server):
    with opened(bay, server) as raw:
        run = raw.measure("record", command=":SOUR:VOLT?", readings=5, interval_s=0.01)

    assert len(run) == 5
    assert np.all(run["time_s"] >= np.arange(5) * 0.01 - 1e-6)


def test_a_command_that_asks_nothing_is_refused_before_it_is_sent(bay, server):
    with opened(bay, server) as raw:
        before = len(sent(server))
        for bad in (":OUTP ON", "", "*IDN?\n:OUTP ON"):
            with pytest.raises(ParameterError):
                raw.measure("query", command=bad)
        for bad in ("a,a", "time_s", "a,,b", "1"):
            with pytest.raises(ParameterError):
                raw.measure("query", command=":SOUR:VOLT?", columns=bad)

        assert len(sent(server)) == before


def test_an_answer_that_is_no_number_or_has_another_width_fails(bay, server):
    with opened(bay, server) as raw:
        with pytest.raises(AnswerError):
            raw.measure("query", command="*IDN?")
        with pytest.raises(AnswerError):
            raw.measure("query", command=":SOUR:VOLT?", columns="one,two")


def test_what_the_instrument_refuses_is_told_from_its_error_queue(bay, server):
    raw = opened(bay, server, config={"timeout_s": 0.5})

    with pytest.raises((InstrumentError, LinkTimeoutError)) as caught:
        raw.measure("query", command=":NO:SUCH:THING?")

    told = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "-113" in told


def test_an_abort_ends_the_questions(bay, server):
    with opened(bay, server) as raw:
        chunks = raw.stream("record", command=":SOUR:VOLT?", readings=1000, interval_s=3600)
        next(iter(chunks))
        raw.abort()
        with pytest.raises(AbortedError):
            for _ in chunks:
                pass


def test_a_bench_with_limits_refuses_what_it_sets(server, tmp_path):
    path = tmp_path / "bench.yaml"
    entry = {"resource": server.resource, "limits": {"voltage_v": [-1, 1]}}
    path.write_text(yaml.safe_dump({"instruments": {"raw": entry}}), encoding="utf-8")

    with Bay(bench=path) as bay, bay.open("raw", plugin="scpi", isolation="inline") as raw:
        run = raw.measure("query", command="*STB?")
        with pytest.raises(LimitError):
            raw.write(":SOUR:VOLT 0.5")

    assert run.state == "done"
    assert ":SOUR:VOLT 0.5" not in sent(server)


def test_opening_it_says_that_there_is_no_safe_state(bay, server, caplog):
    with opened(bay, server):
        pass

    assert "safe state" in caplog.text


def test_its_manifest_claims_no_model():
    import drivebay

    folder = Path(drivebay.__file__).parent / "drivers" / "scpi"
    said = yaml.safe_load((folder / "plugin.yaml").read_text(encoding="utf-8"))

    assert not {"supported_models", "idn_patterns", "safe_state", "dialect"} & set(said)
