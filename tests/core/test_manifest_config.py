"""check_config: what a user passes against the plugin's schema; all problems, no surprises."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivebay._core.errors import ConfigError
from drivebay._core.manifest import PluginMetadata, check_config
from drivebay._core.manifest import config as config_module

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["nplc"],
    "properties": {
        "nplc": {"type": "number", "minimum": 0.01, "maximum": 10},
        "wires": {"enum": [2, 4], "default": 2},
        "filter": {
            "type": "object",
            "properties": {"count": {"type": "integer", "default": 10}, "kind": {"type": "string"}},
            "additionalProperties": False,
        },
        "line": {"$ref": "#/$defs/line"},
        "channels": {"type": "array", "items": {"$ref": "#/$defs/channel"}},
    },
    "additionalProperties": False,
    "$defs": {
        "line": {"type": "integer", "enum": [50, 60], "default": 50},
        "channel": {
            "type": "object",
            "properties": {"number": {"type": "integer"}, "label": {"default": "unnamed"}},
            "required": ["number"],
            "additionalProperties": False,
        },
    },
}


def plugin(schema: dict[str, Any] | None) -> PluginMetadata:
    return PluginMetadata("k2400", "1.0", "Lab", "SMU", config_schema=schema)


def problems(schema: dict[str, Any], config: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        check_config(plugin(schema), config)
    assert caught.value.plugin == "k2400"
    assert isinstance(caught.value, ValueError)
    return caught.value.problems


def test_defaults_are_filled_in_also_in_nested_objects_lists_and_references():
    config = check_config(plugin(SCHEMA), {"nplc": 1, "channels": [{"number": 1}]})

    assert config == {
        "nplc": 1,
        "wires": 2,
        "filter": {"count": 10},
        "line": 50,
        "channels": [{"number": 1, "label": "unnamed"}],
    }


def test_an_object_that_its_defaults_do_not_complete_is_not_made_up():
    schema = {
        "properties": {
            "a": {"required": ["x"], "properties": {"x": {}, "y": {"default": 1}}},
            "b": {"allOf": [{"properties": {"y": {"default": 1}}}]},
        }
    }

    assert check_config(plugin(schema), None) == {"b": {"y": 1}}


def test_what_the_user_passed_wins_over_defaults_and_is_never_changed():
    config = {"nplc": 1, "wires": 4, "filter": {}}

    checked = check_config(plugin(SCHEMA), config)

    assert checked["wires"] == 4
    assert config == {"nplc": 1, "wires": 4, "filter": {}}


def test_two_configs_never_share_a_default():
    schema = {"properties": {"list": {"default": [1]}}}

    check_config(plugin(schema), {})["list"].append(2)

    assert check_config(plugin(schema), {}) == {"list": [1]}


def test_a_plugin_without_a_schema_takes_any_mapping_as_it_is():
    thing = object()

    assert check_config(plugin(None), {"anything": thing}) == {"anything": thing}
    assert check_config(plugin(None), None) == {}


def test_sealed_metadata_checks_the_same():
    assert check_config(plugin(SCHEMA).sealed(), {"nplc": 1})["wires"] == 2


def test_all_problems_come_at_once_each_with_its_pointer():
    found = problems(
        SCHEMA,
        {"nplcc": 1, "wires": 3, "filter": {"count": "x", "knd": 1}, "channels": [{"label": "a"}]},
    )

    assert sorted(item.split(":")[0] for item in found) == [
        "/channels/0/number",
        "/filter/count",
        "/filter/knd",
        "/nplc",
        "/nplcc",
        "/wires",
    ]
    assert "/nplcc: unknown key 'nplcc'; did you mean 'nplc'?" in found
    assert "/filter/knd: unknown key 'knd'; did you mean 'kind'?" in found
    assert "/nplc: is missing" in found


def test_an_unknown_key_below_a_reference_names_the_keys_there():
    found = problems(SCHEMA, {"nplc": 1, "channels": [{"number": 1, "labell": "x"}]})

    assert found == ("/channels/0/labell: unknown key 'labell'; did you mean 'label'?",)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(number):
    assert problems({"properties": {}}, {"a": [1, {"b": number}]})[0].startswith(
        "/a/1/b: must be a finite number"
    )


@pytest.mark.parametrize(
    ("config", "pointer"),
    [({"a": object()}, "/a"), ({"a": b"x"}, "/a"), ({5: 1}, "/"), ({"a/b": {1}}, "/a~1b")],
)
def test_what_is_no_json_is_refused(config, pointer):
    assert problems({}, config)[0].split(":")[0] == pointer


@pytest.mark.parametrize("config", [[], "text", 5, [("a", 1)]])
def test_a_config_that_is_no_mapping_is_refused(config):
    assert "must be a mapping" in problems({}, config)[0]


def test_a_config_that_holds_itself_is_refused():
    config: dict[str, Any] = {}
    config["a"] = config

    assert "nested deeper" in problems({}, config)[0]


def test_tuples_count_as_lists():
    assert check_config(plugin({"properties": {"a": {"type": "array"}}}), {"a": (1, 2)}) == {
        "a": [1, 2]
    }


@pytest.mark.parametrize(
    "schema", [{"type": "objekt"}, {"$ref": "#"}, {"pattern": "(?=a)"}, [], {"const": object()}]
)
def test_a_schema_that_never_passed_a_manifest_is_refused_when_it_is_used(schema):
    found = problems(schema, {})

    assert "config_schema" in found[0]


def test_a_remote_reference_is_refused_and_nobody_is_called():
    with socket.create_server(("127.0.0.1", 0)) as server:
        calls: list[object] = []
        server.settimeout(0.01)
        port = server.getsockname()[1]

        found = problems({"$ref": f"http://127.0.0.1:{port}/schema.json"}, {})
        with pytest.raises(TimeoutError):
            calls.append(server.accept())

    assert "M025" in found[0]
    assert calls == []


def test_the_validator_itself_fetches_nothing_either():
    from drivebay._core.manifest.json_schema import make_validator

    with pytest.raises(Exception, match="not fetched"):
        make_validator({"$ref": "http://127.0.0.1:9/schema.json"}).is_valid(1)


def test_a_pattern_that_would_backtrack_for_ever_answers():
    schema = {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}}

    assert problems(schema, {"a": "a" * 50_000 + "!"})[0].startswith("/a: ")
    assert check_config(plugin(schema), {"a": "a" * 50_000})


def test_a_long_value_is_not_echoed_whole():
    found = problems({"properties": {"a": {"type": "number"}}}, {"a": "x" * 100_000})

    assert len(found[0]) < 400


def test_a_schema_is_compiled_once_however_often_it_is_used():
    config_module._compile.cache_clear()

    for _ in range(5):
        check_config(plugin(dict(SCHEMA)), {"nplc": 1})

    assert config_module._compile.cache_info().misses == 1


def test_one_schema_serves_many_threads():
    wrong: list[object] = []

    def use() -> None:
        for nplc in range(1, 10):
            checked = check_config(plugin(SCHEMA), {"nplc": nplc})
            if checked["nplc"] != nplc or checked["wires"] != 2:
                wrong.append(checked)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    st.dictionaries(
        st.sampled_from(["nplc", "wires", "filter", "line", "channels", "x"]), VALUES, max_size=4
    )
)
def test_any_config_is_either_valid_with_defaults_or_refused_with_pointers(config):
    try:
        checked = check_config(plugin(SCHEMA), config)
    except ConfigError as error:
        refused = error.problems
    else:
        refused = ()
        assert checked["wires"] in (2, 4)
        assert check_config(plugin(SCHEMA), checked) == checked
    assert all(item.startswith("/") for item in refused)
