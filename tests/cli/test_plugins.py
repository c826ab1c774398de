"""``drivebay plugins``: list, show, check, enable, disable, pin, reload, schema."""

from __future__ import annotations

import os
import re

import jsonschema_rs
import pytest
import yaml

from drivebay.cli import failures

PACED = """
from contextlib import contextmanager

from drivebay.driver import SteppedSource


class Paced(SteppedSource):
    @contextmanager
    def stepping(self, p):
        yield

    def step_to(self, level_v):
        pass

    def step_read(self):
        return {}
"""

DECORATED = """\
from drivebay.driver import ScpiDriver, driver_plugin, method


@driver_plugin(
    name="deco",
    version="1.0.0",
    author="A. Tester",
    description="declared in code",
    supported_methods=["answer"],
    supported_models=["Deco 1"],
)
class Deco(ScpiDriver):
    @method("answer")
    def answer(self, params):
        yield {"answer": [1.0]}

    @method("more")
    def more(self, params):
        yield {"answer": [1.0]}
"""


def by_name(listed):
    return {each["name"]: each for each in listed}


def test_the_list_has_what_a_script_needs_of_each_plugin(drivebay, user_plugins, write_plugin):
    folder = write_plugin(user_plugins, "acme")

    done = drivebay("plugins", "list", "--json")

    found = by_name(done.json)
    assert done.code == failures.OK
    assert set(found) >= {"acme", "keithley_2400", "scpi"}
    assert found["acme"]["version"] == "1.0.0"
    assert found["acme"]["status"] == "discovered"
    assert found["acme"]["source"] == "folder"
    assert found["acme"]["path"] == str(folder / "plugin.yaml")
    assert found["acme"]["error_message"] is None
    assert found["acme"]["supported_methods"] == ["answer"]
    assert found["acme"]["supported_models"] == ["Model 1"]
    assert found["keithley_2400"]["source"] == "builtin"


def test_listing_runs_no_plugin_code(drivebay, user_plugins, write_plugin, tmp_path):
    mark = tmp_path / "imported"
    write_plugin(user_plugins, "acme", driver_source=f"open({str(mark)!r}, 'w').close()")

    drivebay("plugins", "list")

    assert not mark.exists()


def test_a_broken_manifest_is_listed_with_its_reason(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "acme", version=None)

    done = drivebay("plugins", "list")
    listed = by_name(drivebay("plugins", "list", "--json").json)

    assert listed["acme"]["status"] == "error"
    assert "version" in listed["acme"]["error_message"]
    assert "version" in done.err
    assert done.code == failures.OK


def test_a_plugin_that_lost_its_name_is_listed_with_the_winner(
    drivebay, user_plugins, write_plugin
):
    winner = write_plugin(user_plugins, "keithley_2400", supported_models=["2400"])

    done = drivebay("plugins", "list", "--json")

    lost = next(each for each in done.json if each["shadowed_by"])
    assert lost["source"] == "builtin"
    assert lost["shadowed_by"] == str(winner / "plugin.yaml")


def test_show_has_the_whole_manifest(drivebay):
    done = drivebay("plugins", "show", "keithley_2400", "--json")
    text = drivebay("plugins", "show", "keithley_2400").out

    assert done.json["manifest"]["ranges"]["2400"]["voltage_v"] == [-210, 210]
    assert re.search(r"safe_state +:ABOR, :OUTP OFF; then :OUTP\? must answer: equals 0", text)
    assert re.search(r"isolation +process: the driver runs in a process of its own", text)
    assert re.search(r"dialect +8 energise, 3 off", text)
    assert re.search(r"limits of 2400 +voltage_v -210..210, current_a -1.05..1.05", text)
    assert "voltage_v to 21 with current_a to 1.05 or voltage_v to 210" in text


def test_a_plugin_without_a_safe_state_is_shown_as_such(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "acme", isolation="inline")

    text = drivebay("plugins", "list")
    listed = by_name(drivebay("plugins", "list", "--json").json)
    shown = drivebay("plugins", "show", "acme").out

    assert re.search(r"^acme +1.0.0 +discovered +inline +NONE", text.out, re.M)
    assert re.search(r"^keithley_2400 +1.0.0 +discovered +process +yes", text.out, re.M)
    assert "acme: no safe state" in text.err
    assert "keithley_2400" not in text.err
    assert (listed["acme"]["isolation"], listed["acme"]["safe_state"]) == ("inline", None)
    assert listed["keithley_2400"]["safe_state"]["writes"] == [":OUTP OFF"]
    assert "NONE: nothing switches its output off" in shown


@pytest.mark.parametrize("verb", ["check", "reload"])
def test_plugin_code_runs_in_a_process_of_its_own(
    drivebay, user_plugins, write_plugin, driver_text, tmp_path, verb
):
    mark = tmp_path / "pid"
    before = f"import os\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\n"
    write_plugin(user_plugins, "acme", driver_source=driver_text(before=before))

    done = drivebay("plugins", verb, "acme")

    assert done.code == failures.OK, done.err
    assert int(mark.read_text()) not in {0, os.getpid()}


@pytest.mark.parametrize("verb", ["check", "reload"])
def test_code_that_takes_its_process_with_it_is_told(drivebay, user_plugins, write_plugin, verb):
    write_plugin(user_plugins, "acme", driver_source="import os\nos.abort()\n")

    done = drivebay("plugins", verb, "acme")

    assert done.code == failures.PLUGIN
    assert "SIGABRT" in done.out + done.err


@pytest.mark.parametrize("verb", ["show", "check", "enable", "disable", "reload"])
def test_a_plugin_nobody_knows_names_the_nearest(drivebay, verb):
    done = drivebay("plugins", verb, "keithly_2400")

    assert done.code == failures.NOT_FOUND
    assert "did you mean 'keithley_2400'" in done.err


def test_a_disabled_plugin_stays_so_with_its_reason(drivebay):
    drivebay("plugins", "disable", "keithley_2400", "--reason", "being calibrated")

    listed = by_name(drivebay("plugins", "list", "--json").json)
    assert listed["keithley_2400"]["status"] == "disabled"
    assert listed["keithley_2400"]["reason"] == "being calibrated"
    assert drivebay("explain", "2400").code == failures.NOT_FOUND

    drivebay("plugins", "enable", "keithley_2400")
    assert drivebay("explain", "2400").code == failures.OK


def test_a_pin_chooses_between_rivals_until_it_is_cleared(drivebay, user_plugins, write_plugin):
    write_plugin(user_plugins, "rival", supported_models=["2400"])

    assert drivebay("explain", "2400", "--json").json["plugin"] == "rival"
    done = drivebay("plugins", "pin", "2400", "keithley_2400", "--json")
    assert done.json == {"model": "2400", "pinned": "keithley_2400", "plugin": "keithley_2400"}
    assert drivebay("explain", "2400", "--json").json["plugin"] == "keithley_2400"
    drivebay("plugins", "pin", "2400", "--clear")
    assert drivebay("explain", "2400", "--json").json["plugin"] == "rival"
    assert drivebay("plugins", "pin", "2400").code == failures.USAGE


def test_reload_says_whether_the_code_loads(drivebay, user_plugins, write_plugin):
    folder = write_plugin(user_plugins, "acme")

    assert drivebay("plugins", "reload", "acme", "--json").json["generation"] is not None
    (folder / "driver.py").write_text("def broken(:\n", encoding="utf-8")
    done = drivebay("plugins", "reload", "acme", "--json")

    assert done.code == failures.PLUGIN
    assert done.json["error"]["type"] == "LoadError"
    assert "driver.py:1" in done.err


def test_the_schema_accepts_the_manifests_there_are(drivebay, write_plugin, tmp_path):
    schema = drivebay("plugins", "schema").json
    manifest = yaml.safe_load((write_plugin(tmp_path, "acme") / "plugin.yaml").read_text("utf-8"))

    assert jsonschema_rs.is_valid(schema, manifest)
    assert not jsonschema_rs.is_valid(schema, manifest | {"naem": "x"})


class TestCheck:
    def test_a_good_plugin_passes_with_advice(self, drivebay, write_plugin, tmp_path):
        folder = write_plugin(tmp_path, "acme")

        done = drivebay("plugins", "check", str(folder))

        assert done.code == failures.OK
        assert "acme 1.0.0: can be used" in done.out
        assert "no safe_state" in done.out

    def test_the_built_in_plugins_leave_nothing_to_say(self, drivebay):
        done = drivebay("plugins", "check", "keithley_2400")

        assert done.out == "keithley_2400 1.0.0: can be used\n"

    def test_every_problem_of_a_manifest_has_its_line(self, drivebay, write_plugin, tmp_path):
        folder = write_plugin(tmp_path, "acme", version="one", naem="x")

        done = drivebay("plugins", "check", str(folder), "--json")

        (plugin,) = done.json["plugins"]
        assert done.code == failures.PLUGIN
        assert done.json["ok"] is False
        assert len(plugin["diagnostics"]) >= 2
        assert all(each["line"] for each in plugin["diagnostics"])
        assert all(each["path"] == str(folder / "plugin.yaml") for each in plugin["diagnostics"])

    def test_code_that_does_not_load_is_shown_with_its_own_traceback(
        self, drivebay, write_plugin, tmp_path
    ):
        folder = write_plugin(tmp_path, "acme", driver_source="import json\n1 / 0\n")

        done = drivebay("plugins", "check", str(folder / "plugin.yaml"))

        assert done.code == failures.PLUGIN
        assert "ZeroDivisionError" in done.out
        assert "driver.py" in done.out
        assert "CANNOT BE USED" in done.out

    def test_a_method_the_class_does_not_have_is_an_error(self, drivebay, tmp_path, write_plugin):
        source = DECORATED.replace("@driver_plugin(", "dict(").replace("class Deco", "\nclass Deco")
        folder = write_plugin(
            tmp_path,
            "acme",
            driver_source=source,
            driver_class="driver.Deco",
            supported_methods=["answer", "iv_sweep"],
        )

        done = drivebay("plugins", "check", str(folder))

        assert done.code == failures.PLUGIN
        assert "iv_sweep" in done.out

    def test_what_decorator_and_manifest_say_differently_is_a_warning(
        self, drivebay, tmp_path, write_plugin
    ):
        folder = write_plugin(
            tmp_path,
            "deco",
            driver_source=DECORATED,
            driver_class="driver.Deco",
            version="2.0.0",
            supported_models=["Deco 1"],
        )

        done = drivebay("plugins", "check", str(folder), "--json")

        messages = [each["message"] for each in done.json["plugins"][0]["diagnostics"]]
        assert done.code == failures.OK
        assert any("@driver_plugin says version '1.0.0', plugin.yaml" in each for each in messages)
        assert any("has more, the manifest does not list it" in each for each in messages)

    @pytest.mark.parametrize(("claims", "told"), [([], True), (["transfer_curve"], False)])
    def test_a_class_that_can_be_paced_without_the_claim_is_a_warning(
        self, drivebay, tmp_path, write_plugin, claims, told
    ):
        folder = write_plugin(
            tmp_path,
            "acme",
            driver_source=PACED,
            driver_class="driver.Paced",
            supported_methods=[],
            paired_methods=claims,
        )

        done = drivebay("plugins", "check", str(folder), "--json")

        messages = [each["message"] for each in done.json["plugins"][0]["diagnostics"]]
        assert done.code == failures.OK
        assert any("can be paced" in each for each in messages) is told

    def test_a_file_with_a_decorated_class_is_a_plugin(self, drivebay, tmp_path):
        file = tmp_path / "deco.py"
        file.write_text(DECORATED, encoding="utf-8")

        done = drivebay("plugins", "check", str(file), "--json")

        assert [each["name"] for each in done.json["plugins"]] == ["deco"]
        assert done.json["ok"] is True

    def test_a_missing_dependency_is_an_error(self, drivebay, tmp_path, write_plugin):
        folder = write_plugin(tmp_path, "acme", dependencies=["no-such-distribution>=3"])

        done = drivebay("plugins", "check", str(folder))

        assert done.code == failures.PLUGIN
        assert "no-such-distribution" in done.out

    def test_a_folder_without_a_plugin_exits_with_3(self, drivebay, tmp_path):
        done = drivebay("plugins", "check", str(tmp_path))

        assert done.code == failures.NOT_FOUND
        assert "plugin.yaml" in done.err
