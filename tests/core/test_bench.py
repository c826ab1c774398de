"""The bench file: bytes in, a bench or every problem with its place out, and nothing else ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from drivebay import Bench, BenchError, BenchInstrument, find_bench, load_bench
from drivebay._core.bench import identity_problem, page, read_bench
from drivebay._core.bench.values import LEVELS, UNITS
from drivebay._core.errors import Diagnostic
from drivebay._core.index import Identity
from drivebay._core.manifest import QUANTITIES

SOCKET = "TCPIP::192.168.1.5::5025::SOCKET"


def bench_of(text: str) -> Bench:
    bench, found = read_bench(text.encode(), "bench.yaml")
    assert bench is not None, [str(each) for each in found]
    return bench


def one(text: str) -> BenchInstrument:
    """The instrument smu1 with some keys of its own, in flow style."""
    return bench_of(with_keys(text)).instruments["smu1"]


def with_keys(text: str) -> str:
    return f"instruments:\n  smu1: {{resource: {SOCKET}, {text}}}\n"


def found_in(text: str | bytes) -> tuple[Diagnostic, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    return read_bench(data, "bench.yaml")[1]


def codes(text: str | bytes) -> list[str]:
    return [each.code for each in found_in(text)]


# What a file says


def test_the_example_of_the_page_is_a_bench():
    bench = bench_of(page.EXAMPLE)

    gate, drain, heater = bench.instruments.values()
    assert bench.name == "probe station 3"
    assert bench.warnings == ()
    assert (gate.alias, gate.resource, gate.plugin) == ("gate", SOCKET, "keithley_2400")
    assert gate.config == {"timeout_s": 3}
    assert gate.identity == Identity("KEITHLEY", "2400", "1234567", "")
    assert gate.limits == {"voltage_v": (-10.0, 10.0), "current_a": (-0.01, 0.01)}
    assert gate.policy == "ramp_off"
    assert gate.ramp is not None
    assert (gate.ramp.rate_v_per_s, gate.ramp.rate_a_per_s, gate.ramp.max_s) == (5.0, None, 10.0)
    assert drain.link_options == {"visa_library": "@ivi"}
    assert drain.safe_state == {
        "writes": [":OUTP1 OFF", ":OUTP2 OFF"],
        "verify": {"query": ":OUTP1?", "equals": "0"},
        "deadline_s": 2.0,
    }
    assert heater.link_options == {"baud_rate": 19200, "terminator": "\r\n"}
    assert (heater.policy, heater.policy_reason) == (
        "hold",
        "the sample must stay at 4 K overnight",
    )


def test_what_a_file_leaves_out_is_none_or_empty():
    instrument = bench_of(f"instruments: {{smu1: {{resource: '{SOCKET}'}}}}").instruments["smu1"]

    assert instrument == BenchInstrument("smu1", SOCKET)
    assert instrument.link_options == {}
    assert instrument.policy == "off"


def test_a_bench_may_have_a_name_and_no_instruments_yet():
    bench = bench_of("bench: new\n")

    assert (bench.name, dict(bench.instruments), bench.safe_order) == ("new", {}, ())


def test_instruments_are_made_safe_as_listed_then_as_they_stand_in_the_file():
    parts = "".join(f"  {a}: {{resource: GPIB::{n}}}\n" for n, a in enumerate("abcd", 1))

    assert bench_of(f"instruments:\n{parts}safe_order: [d, b]").safe_order == ("d", "b", "a", "c")
    assert bench_of(f"instruments:\n{parts}safe_order: c").safe_order == ("c", "a", "b", "d")
    assert bench_of(f"instruments:\n{parts}").safe_order == ("a", "b", "c", "d")


def test_an_address_has_one_spelling_and_leads_to_its_alias():
    bench = bench_of("instruments: {smu1: {resource: ' gpib::24 '}}")

    assert bench.instruments["smu1"].resource == "GPIB0::24::INSTR"
    assert bench.alias_of("GPIB0::24") == "smu1"
    assert bench.alias_of("GPIB0::25") is None
    assert bench.alias_of("no address") is None


@pytest.mark.parametrize("spelling", ["off", "'off'", '"off"'])
def test_the_policy_off_is_text_however_it_is_written(spelling):
    assert one(f"policy: {spelling}").policy == "off"


def test_scalars_are_text_but_in_the_config():
    instrument = one(
        "identity: {serial: 0012, model: 2400}, visa_library: no, "
        "config: {a: 0012, b: 12, c: no, d: true, e: null, f: '1'}, x-rack: 3"
    )

    assert instrument.identity == Identity("", "2400", "0012", "")
    assert instrument.visa_library == "no"
    assert instrument.config == {"a": "0012", "b": 12, "c": "no", "d": True, "e": None, "f": "1"}


@pytest.mark.parametrize(
    ("limit", "pair"),
    [
        ("voltage_v: [-10, 10]", (-10.0, 10.0)),
        ("voltage_v: 10", (-10.0, 10.0)),
        ("voltage_v: '10 V'", (-10.0, 10.0)),
        ("voltage_v: [-0.2 kV, 2e2]", (-200.0, 200.0)),
        ("voltage_v: [0, 5]", (0.0, 5.0)),
        ("voltage_v: 0", (0.0, 0.0)),
        ("current_a: 10 mA", (-0.01, 0.01)),
        ("current_a: 4.7 uA", (-4.7e-6, 4.7e-6)),
        ("resistance_ohm: 2 MΩ", (-2e6, 2e6)),
        ("conductance_s: 3 mS", (-0.003, 0.003)),
        ("frequency_hz: [10, 1 kHz]", (10.0, 1000.0)),
        ("temperature_k: [4, 320]", (4.0, 320.0)),
        ("nplc: [0.1, 10]", (0.1, 10.0)),
    ],
)
def test_a_limit_is_a_pair_or_one_number_with_or_without_its_unit(limit, pair):
    assert list(one(f"limits: {{{limit}}}").limits.values()) == [pair]


@given(
    st.sampled_from(sorted(UNITS)),
    st.floats(-1e6, 0, allow_subnormal=False),
    st.floats(0, 1e6, allow_subnormal=False),
)
def test_limits_come_out_as_the_numbers_that_went_in(quantity, low, high):
    assert one(f"limits: {{{quantity}: [{low!r}, {high!r}]}}").limits == {quantity: (low, high)}


def test_every_quantity_of_a_dialect_can_be_limited():
    assert set(UNITS) == set(QUANTITIES)
    assert set(LEVELS) < set(UNITS)


def test_a_channel_has_what_its_instrument_has_unless_it_has_its_own():
    instrument = one(
        "limits: {voltage_v: 10, current_a: 1}, policy: ramp_off, ramp: {rate_v_per_s: 1}, "
        'channels: {"1": {limits: {voltage_v: 5}}, b: {policy: off}, '
        "c: {ramp: {rate_v_per_s: 2, max_s: 20 s}}, "
        "d: {policy: hold, policy_reason: heater, limits: {voltage_v: [1, 2]}}}"
    )

    first, b, c, d = (instrument.channel(name) for name in ("1", "b", "c", "d"))
    assert first.limits == {"voltage_v": (-5.0, 5.0), "current_a": (-1.0, 1.0)}
    assert (first.policy, first.ramp) == ("ramp_off", instrument.ramp)
    assert (b.policy, b.ramp, b.limits) == ("off", None, instrument.limits)
    assert c.ramp is not None
    assert (c.policy, c.ramp.rate_v_per_s, c.ramp.max_s) == ("ramp_off", 2.0, 20.0)
    assert (d.policy, d.policy_reason, d.limits["voltage_v"]) == ("hold", "heater", (1.0, 2.0))
    unnamed = instrument.channel("7")
    assert (unnamed.limits, unnamed.policy) == (instrument.limits, "ramp_off")


@pytest.mark.parametrize("written", [r"\r\n", r"'\r\n'", r'"\r\n"'])
def test_a_terminator_is_what_was_meant_with_and_without_double_quotes(written):
    text = f"instruments: {{pump: {{resource: ASRL1::INSTR, terminator: {written}}}}}"

    assert bench_of(text).instruments["pump"].terminator == "\r\n"


def test_a_bench_is_read_only_all_the_way_down():
    instrument = one("limits: {voltage_v: 1}, config: {a: [1]}, safe_state: {writes: A}")

    for part in (instrument.limits, instrument.config, instrument.safe_state):
        with pytest.raises(TypeError):
            part["voltage_v"] = 1000
    with pytest.raises(TypeError):
        instrument.config["a"].append(2)
    with pytest.raises(AttributeError):
        instrument.policy = "hold"


# What is wrong with a file: code, text, and where it is said to be

BAD = [
    ("B001", "", 0, 0),
    ("B001", "# nothing\n", 0, 0),
    ("B002", "- a\n", 1, 1),
    ("B003", "instrument: {}\n", 1, 1),
    ("B003", with_keys("limit: {}"), 2, 54),
    ("B003", with_keys("channels: {a: {limit: {}}}"), 2, 69),
    ("B003", with_keys("identity: {make: K, serial: 1}"), 2, 65),
    ("B003", with_keys("policy: ramp_off, ramp: {rate: 1, rate_v_per_s: 1}"), 2, 79),
    ("B003", with_keys("safe_state: {write: A, interrupt: true}"), 2, 67),
    ("B004", "instruments:\n  smu1: {plugin: k2400}\n", 2, 3),
    ("B004", "instruments:\n", 1, 13),
    ("B004", "instruments:\n  smu1: {resource: }\n", 2, 20),
    ("B004", with_keys("limits: "), 2, 62),
    ("B004", with_keys("identity: {serial: ''}"), 2, 73),
    ("B005", with_keys("limits: {voltage_v: 1, voltage_v: 2}"), 2, 77),
    ("B005", f"instruments:\n  a: {{resource: '{SOCKET}'}}\n  a: {{resource: 'GPIB::1'}}\n", 3, 3),
    ("B006", "instruments: [a]\n", 1, 14),
    ("B006", "instruments:\n  smu1: GPIB0::24\n", 2, 3),
    ("B006", "bench: [a]\n", 1, 8),
    ("B006", with_keys("limits: 5"), 2, 62),
    ("B006", with_keys("channels: {a: 5}"), 2, 65),
    ("B006", with_keys("config: 5"), 2, 62),
    ("B007", with_keys("plugin: a b"), 2, 62),
    ("B010", "bench: !!str a\n", 1, 8),
    ("B011", "bench: &a b\n", 1, 8),
    ("B011", "bench: *a\n", 1, 8),
    ("B012", "x-deep: " + "[" * 20 + "]" * 20, 1, 20),
    ("B013", "x-long: [" + "1," * 20_000 + "1]", 0, 0),
    ("B013", "#" * 70_000, 0, 0),
    ("B014", "instruments:\n\tsmu1: a\n", 2, 1),
    ("B015", "bench: a\x07b\n", 1, 9),
    ("B016", b"bench: a\xff\n", 1, 9),
    ("B017", "bench: a\n---\nbench: b\n", 2, 1),
    ("B028", "bench: [\n", 2, 1),
    ("B028", with_keys("visa_library: @py"), 2, 68),
    ("B036", with_keys("limits: {volts: 1}"), 2, 63),
    ("B036", with_keys("limits: {voltage_v: [1]}"), 2, 74),
    ("B036", with_keys("limits: {voltage_v: [1, -1]}"), 2, 74),
    ("B036", with_keys("limits: {voltage_v: -1}"), 2, 74),
    ("B038", with_keys("safe_state: {interrupt: false}"), 2, 66),
    ("B041", with_keys("limits: {voltage_v: ten}"), 2, 74),
    ("B041", with_keys("limits: {voltage_v: }"), 2, 74),
    ("B041", with_keys("limits: {voltage_v: {}}"), 2, 74),
    ("B041", with_keys("limits: {voltage_v: [-1, .inf]}"), 2, 79),
    ("B041", with_keys("limits: {voltage_v: 1e999}"), 2, 74),
    ("B041", with_keys("config: {a: 1e999}"), 2, 66),
    ("B041", with_keys("safe_state: {writes: A, deadline_s: soon}"), 2, 90),
    ("B042", f"bench: {'a' * 5000}\n", 1, 8),
    ("B042", "safe_order: ['']\n", 1, 14),
    ("B101", f"instruments:\n  SMU1: {{resource: '{SOCKET}'}}\n", 2, 3),
    ("B101", f"instruments:\n  off: {{resource: '{SOCKET}'}}\n", 2, 3),
    ("B101", f"instruments:\n  asrl1: {{resource: '{SOCKET}'}}\n", 2, 3),
    ("B101", f"instruments:\n  {'a' * 33}: {{resource: '{SOCKET}'}}\n", 2, 3),
    ("B102", "instruments:\n  smu1: {resource: TCPIP::host::5025}\n", 2, 20),
    (
        "B103",
        "instruments:\n  a: {resource: GPIB0::24::INSTR}\n  b: {resource: gpib::24}\n",
        3,
        17,
    ),
    ("B104", with_keys("policy: Off"), 2, 62),
    ("B104", with_keys("policy: false"), 2, 62),
    ("B105", with_keys("policy: hold"), 2, 62),
    ("B105", with_keys("channels: {a: {policy: hold}}"), 2, 77),
    ("B106", with_keys("policy: ramp_off"), 2, 62),
    ("B106", with_keys("ramp: {rate_v_per_s: 1}"), 2, 54),
    ("B106", with_keys("policy: ramp_off, ramp: {max_s: 10}"), 2, 72),
    ("B106", with_keys("policy: ramp_off, ramp: {rate_v_per_s: 0}"), 2, 93),
    ("B106", with_keys("policy: ramp_off, ramp: {rate_v_per_s: 1 A}"), 2, 93),
    ("B106", with_keys("policy: ramp_off, ramp: {rate_a_per_s: 1, max_s: 31}"), 2, 103),
    ("B107", with_keys("limits: {current_a: 10 mV}"), 2, 74),
    ("B108", "instruments:\n  a: {resource: ASRL1, baud_rate: 9600.5}\n", 2, 35),
    ("B108", "instruments:\n  a: {resource: ASRL1, baud_rate: 0}\n", 2, 35),
    ("B108", "instruments:\n  a: {resource: ASRL1, terminator: END}\n", 2, 36),
    ("B110", with_keys("identity: {}"), 2, 54),
    ("B110", with_keys("identity: {serial: 'a,b'}"), 2, 73),
    ("B111", "safe_order: [smu1]\n", 1, 14),
    ("B111", "safe_order: smu1\n", 1, 13),
    ("B112", with_keys("limits: {voltage_v: [1, 2]}"), 2, 74),
    ("B112", with_keys("limits: {current_a: [-2, -1]}"), 2, 74),
    (
        "B112",
        with_keys("limits: {power_w: [1, 2]}, policy: ramp_off, ramp: {rate_v_per_s: 1}"),
        2,
        72,
    ),
    ("B112", with_keys("channels: {a: {limits: {voltage_v: [1, 2]}}}"), 2, 89),
    (
        "B112",
        with_keys(
            "limits: {voltage_v: [1, 2]}, policy: hold, policy_reason: r, "
            "channels: {a: {policy: off}}"
        ),
        2,
        138,
    ),
    ("B113", with_keys("limits: {voltage_v: 1}, channels: {a: {limits: {voltage_v: 2}}}"), 2, 113),
    ("B114", with_keys("channels: {'a b': {}}"), 2, 65),
    ("B116", 'bench: "a\\x1b"\n', 1, 8),
    ("B116", "bench: '  '\n", 1, 8),
    ("B116", with_keys("policy: hold, policy_reason: '  '"), 2, 83),
]
ODD = [
    ("B035", with_keys("x-a: b") + "safe_order: [smu1, smu1]\n", 3, 20),
    ("B109", with_keys("baud_rate: 9600"), 2, 54),
    ("B109", with_keys('terminator: "\\n"'), 2, 54),
    (
        "B115",
        with_keys("limits: {voltage_v: 40}, policy: ramp_off, ramp: {rate_v_per_s: 1}"),
        2,
        97,
    ),
]
GOOD = [
    with_keys("x-mine: {a: [b]}"),
    with_keys("limits: {}, channels: {}, config: {}"),
    with_keys("policy: hold, policy_reason: the heater"),
    with_keys("policy: hold, policy_reason: r, limits: {voltage_v: [1, 2]}"),
    with_keys("policy: off, limits: {temperature_k: [4, 300], delay_s: [1, 2]}"),
    with_keys("policy: ramp_off, ramp: {rate_a_per_s: 1 mA/s, max_s: 30}"),
    with_keys("limits: {voltage_v: 40}, policy: ramp_off, ramp: {rate_v_per_s: 4}"),
    with_keys("limits: {voltage_v: 1}, channels: {a: {limits: {voltage_v: 1, current_a: 9}}}"),
    with_keys("policy: hold, policy_reason: r, channels: {a: {policy: hold}}"),
    with_keys("safe_state: {interrupt: true}"),
    with_keys("identity: {firmware: 'C30, A02'}"),
    "instruments:\n  a: {resource: ASRL1, baud_rate: 115200, terminator: '\\r'}\n",
    "instruments:\n  a: {resource: GPIB0::24}\n  b: {resource: GPIB1::24}\n",
    f"instruments:\n  {'a' * 32}: {{resource: '{SOCKET}'}}\n",
]


@pytest.mark.parametrize(("code", "text", "line", "column"), BAD + ODD)
def test_a_problem_has_its_code_and_its_place(code, text, line, column):
    found = found_in(text)

    assert [(each.code, each.line, each.column) for each in found] == [(code, line, column)]


@pytest.mark.parametrize("text", [text for _, text, *_ in BAD])
def test_a_file_with_an_error_gives_no_bench(text):
    data = text if isinstance(text, bytes) else text.encode()

    assert read_bench(data, "bench.yaml")[0] is None


@pytest.mark.parametrize("text", [text for _, text, *_ in ODD])
def test_what_is_only_odd_is_a_warning_and_stays_with_the_bench(text):
    bench = bench_of(text)

    assert bench.warnings == found_in(text)
    assert [each.severity for each in bench.warnings] == ["warning"]


@pytest.mark.parametrize("text", GOOD)
def test_control_what_lies_beside_each_rule_is_let_through(text):
    assert bench_of(text).warnings == ()


def test_every_code_that_is_explained_was_seen():
    seen = {code for code, *_ in BAD + ODD}

    # One needs a folder, one a hundred problems, one the plugins of a machine: tests of their own.
    assert page.CODES.keys() - seen == {"B018", "B040", "B117"}
    assert seen < page.CODES.keys()
    assert list(page.CODES) == sorted(page.CODES)


def test_everything_that_is_wrong_is_said_at_once_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "bench.yaml"
    path.write_text(
        "instruments:\n"
        "  smu1:\n"
        "    resourc: GPIB0::1\n"
        "    limits: {voltage: 10, current_a: 10 mV}\n"
        "  smu2:\n"
        "    resource: GPIB0::24\n"
        "    policy: hold\n"
        "  SMU3:\n"
        "    resource: gpib::24\n"
        "safe_order: [smu4]\n"
    )

    with pytest.raises(BenchError) as caught:
        load_bench(path)

    places = [(each.code, each.line, each.column) for each in caught.value.diagnostics]
    assert places == [
        ("B004", 2, 3),
        ("B003", 3, 5),
        ("B036", 4, 14),
        ("B107", 4, 38),
        ("B105", 7, 13),
        ("B101", 8, 3),
        ("B103", 9, 15),
        ("B111", 10, 14),
    ]
    text = str(caught.value)
    assert f"{path}:3:5: B003 smu1: unknown key 'resourc'; did you mean 'resource'?" in text
    assert "smu1: unknown quantity 'voltage'; did you mean 'voltage_v'?" in text
    assert "is the resource of 'smu2' already" in text
    assert caught.value.path == str(path)


def test_more_than_a_hundred_problems_are_counted_not_listed():
    text = "".join(f"key{n}: 1\n" for n in range(150))

    assert codes(text) == ["B003"] * 100 + ["B040"]


def test_a_bench_file_holds_more_than_a_manifest():
    parts = "".join(
        f"  smu{n}: {{resource: GPIB0::{n % 30}::{n // 30}, limits: {{voltage_v: [-1, 1]}}, "
        "identity: {serial: '1', model: '2'}, plugin: k2400, policy: off}\n"
        for n in range(250)
    )

    assert len(bench_of(f"instruments:\n{parts}").instruments) == 250


def test_a_folder_is_no_bench_file(tmp_path):
    with pytest.raises(BenchError) as caught:
        load_bench(tmp_path)

    assert [each.code for each in caught.value.diagnostics] == ["B018"]


def test_a_missing_file_is_the_systems_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_bench(tmp_path / "bench.yaml")


# Whatever a file holds

_leaves = st.text(max_size=12) | st.sampled_from(
    ["off", "hold", "ramp_off", SOCKET, "GPIB0::24", "10 mA", "1e999", "-1", "\n", "\x07", "a,b"]
)
_KEYS = """
    bench instruments safe_order smu1 resource limits voltage_v channels policy policy_reason ramp
    rate_v_per_s max_s identity serial config safe_state writes verify query deadline_s 1 x-a
    baud_rate terminator
"""
_names = st.text(max_size=8) | st.sampled_from(_KEYS.split())
_mappings = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(_names, _mappings, max_size=5))
def test_a_mapping_of_text_gives_a_bench_or_a_bench_error(tmp_path_factory, mapping):
    path = tmp_path_factory.mktemp("bench") / "bench.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True, sort_keys=False), "utf-8")

    try:
        found = load_bench(path).warnings
    except BenchError as exc:
        found = exc.diagnostics
        assert found

    assert {each.code for each in found} <= page.CODES.keys()


@given(
    st.dictionaries(st.sampled_from(["smu1", "smu2"]), st.dictionaries(_names, _mappings)),
    st.dictionaries(_names, _mappings, max_size=4),
)
def test_an_instrument_of_any_text_never_raises(parts, mapping):
    named = {a: {"resource": f"GPIB0::{a[-1]}", **part} for a, part in parts.items()}
    data = yaml.safe_dump({"instruments": named, **mapping}, sort_keys=False).encode()

    bench, found = read_bench(data, "bench.yaml")

    assert (bench is None) == any(each.severity == "error" for each in found)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_bench_or_problems(data):
    bench, found = read_bench(data, "bench.yaml")

    assert bench is not None or found


# The schema, and back again


@pytest.fixture(scope="module")
def takes():
    """Whether the JSON Schema takes what an editor reads from a text."""
    import jsonschema_rs

    validator = jsonschema_rs.Draft202012Validator(Bench.json_schema())
    return lambda text: validator.is_valid(yaml.safe_load(text))


def test_the_schema_is_a_json_schema():
    import jsonschema_rs

    jsonschema_rs.meta.validate(Bench.json_schema())


@pytest.mark.parametrize("text", [*GOOD, page.EXAMPLE, *(text for _, text, *_ in ODD)])
def test_the_schema_takes_what_the_reader_takes(takes, text):
    assert takes(text)


@pytest.mark.parametrize(
    "text",
    [
        "instrument: {}\n",
        "instruments: [a]\n",
        "instruments:\n  SMU1: {resource: GPIB0::1}\n",
        "instruments:\n  smu1: {plugin: k2400}\n",
        with_keys("limit: {}"),
        with_keys("limits: "),
        with_keys("limits: {volts: 1}"),
        with_keys("limits: {voltage_v: [1]}"),
        with_keys("policy: on"),
        with_keys("ramp: {rate: 1}"),
        with_keys("identity: {make: K}"),
        with_keys("channels: {'a b': {}}"),
        with_keys("channels: {a: {plugin: b}}"),
        with_keys("safe_state: {write: A}"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(takes, text):
    assert read_bench(text.encode(), "bench.yaml")[0] is None
    assert not takes(text)


@pytest.mark.parametrize("text", [*GOOD, page.EXAMPLE])
def test_a_bench_written_out_loads_as_the_same_bench(takes, text):
    bench = bench_of(text)

    written = yaml.safe_dump(bench.to_dict(), sort_keys=False)

    assert bench_of(written) == bench
    assert takes(written)


def test_the_reference_page_shows_the_example_and_every_key():
    text = page.reference_page()

    assert page.EXAMPLE in text
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) >= {"resource", "rate_a_per_s", "hold"}


# Identities

IDN = "KEITHLEY INSTRUMENTS INC.,MODEL 2400,1234567,C30   Mar 17 2006 09:29:29/A02  /K/J"


@pytest.mark.parametrize(
    "pinned",
    [
        Identity("KEITHLEY INSTRUMENTS INC.", "MODEL 2400", "1234567", "C30"),
        Identity("Keithley", "2400", "", ""),
        Identity("", "model 2400", "", "c30 mar 17 2006"),
        Identity("", "", "1234567", ""),
        None,
    ],
)
def test_an_instrument_that_is_the_pinned_one_has_no_problem(pinned):
    assert identity_problem(pinned, IDN) is None


@pytest.mark.parametrize(
    ("pinned", "part"),
    [
        (Identity("KEYSIGHT", "2400", "1234567", ""), "manufacturer"),
        (Identity("KEITHLEY", "2401", "1234567", ""), "model"),
        (Identity("", "", "123456", ""), "serial"),
        (Identity("", "", "", "C3"), "firmware"),
        (Identity("", "", "", "C31"), "firmware"),
    ],
)
def test_another_instrument_is_named_beside_the_pinned_one(pinned, part):
    problem = identity_problem(pinned, IDN)

    assert problem is not None
    assert problem.startswith(f"{part} is {getattr(Identity(*IDN.split(',', 3)), part)!r}")
    assert IDN in problem
    assert ",".join(each or "*" for each in pinned) in problem


def test_an_instrument_that_says_nothing_is_not_the_pinned_one():
    assert identity_problem(Identity("", "", "7", ""), "") is not None


# Where the file is


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A current folder and a home folder, both empty."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("DRIVEBAY_BENCH", raising=False)
    return here, home


def test_there_may_be_no_bench_file(places):
    _, home = places

    assert find_bench(home) is None


def test_the_named_file_comes_before_the_current_folder_before_the_home(places, monkeypatch):
    here, home = places
    (home / "bench.yaml").touch()
    assert find_bench(home) == home / "bench.yaml"

    (here / "bench.yaml").touch()
    assert find_bench(str(home)) == here / "bench.yaml"

    monkeypatch.setenv("DRIVEBAY_BENCH", "other.yaml")
    assert find_bench(home) == here / "other.yaml"
    monkeypatch.setenv("DRIVEBAY_BENCH", "")
    assert find_bench(home) == here / "bench.yaml"


def test_a_bench_file_that_cannot_be_read_is_found_all_the_same(places):
    here, home = places
    (here / "bench.yaml").symlink_to("gone.yaml")
    (home / "bench.yaml").touch()

    assert find_bench(home) == here / "bench.yaml"
