"""``drivebay find`` and ``explain``."""

from __future__ import annotations

import re

import pytest

from drivebay.cli import failures

IDN = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30"
NOWHERE = "TCPIP::127.0.0.1::1::SOCKET"


def test_find_lists_who_answers_and_which_plugin_serves_it(drivebay, bench):
    done = drivebay("find", bench.resource, "--json")

    (found,) = done.json
    assert done.code == failures.OK
    assert found["resource"] == bench.resource
    assert found["idn"].startswith("KEITHLEY INSTRUMENTS INC.,MODEL 2400,")
    assert found["plugin"] == "keithley_2400"
    assert found["candidates"][0]["plugin"] == "keithley_2400"
    assert found["candidates"][0]["usable"] is True
    assert found["candidates"][0]["why"]


def test_find_sends_nothing_but_the_question_who_it_is(drivebay, bench):
    drivebay("find", bench.resource)

    assert {each["text"] for each in bench.log.named("message")} == {"*IDN?"}


@pytest.mark.slow
def test_find_looks_where_the_environment_says(drivebay, bench, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_RESOURCES", bench.resource)

    done = drivebay("find", "--json")

    assert bench.resource in [each["resource"] for each in done.json]


def test_find_shows_a_table_and_who_did_not_answer(drivebay, bench):
    done = drivebay("find", bench.resource, NOWHERE)

    assert done.code == failures.OK
    assert "keithley_2400" in done.out
    assert NOWHERE in done.err


@pytest.mark.parametrize(
    ("resource", "code"), [(NOWHERE, failures.NOT_FOUND), ("no address", failures.USAGE)]
)
def test_find_exits_with_3_when_nobody_answers_and_with_2_for_no_address(drivebay, resource, code):
    done = drivebay("find", resource, "--json")

    assert done.code == code
    assert done.json[0]["idn"] is None
    assert done.json[0]["error"]


def test_who_does_not_answer_is_named_once_with_what_to_look_at(drivebay):
    done = drivebay("find", NOWHERE)

    assert done.err.count(NOWHERE) == 1
    assert "Error" not in done.err
    assert "is it switched on, connected, and free?" in done.err


def test_explain_takes_a_model_a_reply_and_an_address(drivebay, bench):
    for text in ("2400", IDN, bench.resource):
        done = drivebay("explain", text, "--json")

        assert done.code == failures.OK
        assert done.json["plugin"] == "keithley_2400"
        assert done.json["candidates"]


def test_explain_says_why_a_plugin_is_not_used(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "acme", supported_models=["Z9"], min_platform_version="9.0")

    done = drivebay("explain", "Z9")

    assert done.code == failures.NOT_FOUND
    assert "acme: not usable" in done.out
    assert "9.0" in done.out


def test_explain_names_the_models_there_are_for_one_nobody_knows(drivebay):
    done = drivebay("explain", "NO SUCH MODEL")

    assert done.code == failures.NOT_FOUND
    assert "2400" in done.out


def test_explain_of_an_address_where_nobody_is_exits_with_3(drivebay):
    done = drivebay("explain", NOWHERE, "--json")

    assert done.code == failures.NOT_FOUND
    assert done.json["error"]["type"] == "NoDriverError"


def test_a_bench_is_looked_at_and_shown_by_its_names(drivebay, bench, bench_file):
    bench_file()

    done = drivebay("find", "--json")
    named = drivebay("find", "smu1")

    assert [(each["alias"], each["resource"]) for each in done.json] == [("smu1", bench.resource)]
    assert named.code == failures.OK
    assert re.search(r"^alias +resource", named.out)
    assert re.search(r"^smu1 +TCPIP", named.out, re.M)


@pytest.mark.slow
def test_an_instrument_somebody_holds_is_shown_with_its_holder_and_not_asked(
    process, bench, holder
):
    done = process("find", bench.resource, "--json")
    text = process("find", bench.resource)

    (found,) = done.json
    assert done.code == failures.OK
    assert found["idn"] is None
    assert found["holder"]["pid"] == holder
    assert "held by" in text.out.splitlines()[0]
    assert f"process {holder}) since" in text.out
    assert len(bench.log.named("connection_opened")) == 1
