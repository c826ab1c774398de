"""``drivebay doctor``: what is in place, what is not, and what to do."""

from __future__ import annotations

from drivebay.cli import failures


def by_name(done):
    return {each["name"]: each for each in done.json["findings"]}


def test_a_healthy_installation_has_no_problem(drivebay, home):
    done = drivebay("doctor", "--json")

    found = by_name(done)
    assert done.code == failures.OK
    assert done.json["ok"] is True
    assert found["home"]["detail"] == str(home)
    assert found["visa"]["state"] == "ok"
    assert "@drivebay" in found["visa backend"]["detail"]
    assert {each["state"] for each in done.json["findings"]} <= {"ok", "note"}


def test_a_broken_plugin_is_a_problem_with_a_remedy(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "acme", version=None)

    done = drivebay("doctor", "--json")
    text = drivebay("doctor")

    assert done.code == failures.FAILED
    assert by_name(done)["plugin acme"]["remedy"] == "drivebay plugins check acme"
    assert text.code == failures.FAILED
    assert "PROBLEM" in text.out


def test_a_home_that_cannot_be_written_is_a_problem(drivebay, tmp_path, monkeypatch):
    file = tmp_path / "a file"
    file.touch()
    monkeypatch.setenv("DRIVEBAY_HOME", str(file / "home"))

    done = drivebay("doctor", "--json")

    assert done.code == failures.FAILED
    assert by_name(done)["home"]["state"] == "problem"
    assert "DRIVEBAY_HOME" in by_name(done)["home"]["remedy"]


def test_rivals_for_a_model_are_a_note(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "rival", supported_models=["2400"])

    done = drivebay("doctor", "--json")

    assert done.code == failures.OK
    assert "rival" in by_name(done)["conflict"]["detail"]


def test_no_instrument_is_spoken_to(drivebay, bench, monkeypatch):
    monkeypatch.setenv("DRIVEBAY_RESOURCES", bench.resource)

    drivebay("doctor")

    assert not bench.log.named("connection_opened")
