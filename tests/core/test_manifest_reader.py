"""The manifest reader: bytes in, metadata or located problems out, and nothing else ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from drivebay._core.errors import Diagnostic, ManifestError
from drivebay._core.manifest import PluginMetadata, peek, read_bytes, read_manifest
from drivebay._core.manifest import reader as reader_module

GOOD = """\
name: keithley_2400
version: 1.10
author: José Lab <lab@example.org>
description: >
  Sources up to -20 °C & 200 V, always!
supported_methods: [iv_sweep, cv]
supported_models:
  - 2400
  - '2401'
  - "24*"
driver_class: keithley.K2400
config_schema: {type: object, properties: {nplc: {type: number, minimum: 0.01}}}
""".encode()

MINIMAL = b"""\
name: k2400
version: 1.0.0
author: Lab
description: SMU
driver_class: driver.K2400
"""


def problems(data: bytes) -> tuple[Diagnostic, ...]:
    metadata, found = read_manifest(data, "plugin.yaml")
    assert metadata is None
    assert found
    return found


def only_problem(data: bytes) -> Diagnostic:
    found = problems(data)
    assert len(found) == 1, [str(item) for item in found]
    return found[0]


@pytest.fixture(params=["libyaml", "pure python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers the reader can run on; the second is PyYAML's own."""
    if request.param == "pure python":
        monkeypatch.setattr(yaml, "__with_libyaml__", False)
        monkeypatch.setattr(reader_module, "_Composer", reader_module._composer())
        assert reader_module._Composer is yaml.BaseLoader
    else:
        assert yaml.__with_libyaml__
    return str(request.param)


def test_a_good_manifest_is_read_as_it_was_meant(parser):
    metadata, found = read_manifest(GOOD, "plugin.yaml")

    assert found == ()
    assert metadata is not None
    assert metadata.version == "1.10"
    assert metadata.author == "José Lab <lab@example.org>"
    assert metadata.description == "Sources up to -20 °C & 200 V, always!\n"
    assert metadata.supported_models == ["2400", "2401", "24*"]
    assert metadata.config_schema == {
        "type": "object",
        "properties": {"nplc": {"type": "number", "minimum": 0.01}},
    }


def test_a_byte_order_mark_is_accepted(parser):
    metadata, found = read_manifest(b"\xef\xbb\xbf" + GOOD, "plugin.yaml")

    assert found == ()
    assert metadata is not None
    assert metadata.name == "keithley_2400"


@pytest.mark.parametrize("data", [b"", b"\n\n", b"# only a comment\n", b"---\n", b"~\n", b"null"])
def test_an_empty_manifest_says_so(data, parser):
    assert only_problem(data).code == "M001"


@pytest.mark.parametrize(
    ("data", "what"), [(b"- a\n- b\n", "a list"), (b"hello\n", "'hello'"), (b"[1, 2]", "a list")]
)
def test_a_manifest_that_is_no_mapping_says_what_it_is(data, what, parser):
    problem = only_problem(data)

    assert problem.code == "M002"
    assert what in problem.message
    assert (problem.line, problem.column) == (1, 1)


def test_a_key_that_stands_twice_names_both_lines(parser):
    problem = only_problem(MINIMAL + b"version: 2.0\n")

    assert problem.code == "M005"
    assert "lines 2 and 6" in problem.message
    assert (problem.line, problem.column) == (6, 1)


def test_a_nested_key_that_stands_twice_is_found_too(parser):
    problem = only_problem(MINIMAL + b"x-mine:\n  a: 1\n  b: 2\n  a: 3\n")

    assert (problem.code, problem.line) == ("M005", 9)


@pytest.mark.parametrize(
    "text",
    [
        b"!!python/object/apply:os.system [id]",
        MINIMAL + b"homepage: !!str x",
        MINIMAL + b"homepage: ! x",
        MINIMAL + b"x-a: [1, !mine 2]",
        b"%TAG !e! tag:example.org,2000:\n--- !e!x\na: b",
    ],
)
def test_yaml_tags_are_refused_where_they_stand(text, parser):
    problem = only_problem(text)

    assert problem.code == "M010"
    assert problem.line >= 1


@pytest.mark.parametrize(
    "text",
    [
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        MINIMAL + b"x-a: &anchor 1\n",
        b'{"a": &a 1, "b":*a}',
        b"? &a b\n: c\n",
        b"&a name: b\n",
        b"[&a x,*a]",
        b"<<: *nowhere\n",
    ],
)
def test_anchors_and_aliases_are_refused(text, parser):
    assert only_problem(text).code == "M011"


def test_signs_inside_text_are_not_mistaken_for_anchors_aliases_or_tags(parser):
    text = MINIMAL.replace(b"SMU", b"R&D of 5 * 4 & more, now!") + b"x-a: [24*, A&B, wow!, '*a']\n"

    metadata, found = read_manifest(text, "plugin.yaml")

    assert found == ()
    assert metadata is not None
    assert metadata.description == "R&D of 5 * 4 & more, now!"
    assert metadata.extensions == {"x-a": ["24*", "A&B", "wow!", "*a"]}


HOSTILE = {
    "flow lists": b"[" * 60_000,
    "flow lists under a key": b"a: " + b"[" * 30_000,
    "flow mappings": b"{" * 60_000,
    "flow mappings with keys": b"{a: " * 15_000,
    "block lists": b"- " * 30_000,
    "explicit keys": b"? " * 30_000,
    "a list 13 deep": b"x-a: " + b"[" * 12 + b"]" * 12,
    "a mapping 13 deep": b"\n".join(b" " * depth + b"a:" for depth in range(14)),
    "a list in short lines": b"[\n" * 20_000,
    "dashes in steps": b"\n".join(b" " * depth + b"- - -" for depth in range(0, 200, 6)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_nesting_is_refused_before_anything_recurses(data, parser):
    assert problems(data)[0].code in ("M012", "M028")


def test_nesting_is_refused_on_the_small_stack_of_a_thread():
    found: list[Diagnostic] = []
    old = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(
            target=lambda: found.extend(
                problems(data)[0] for data in (*HOSTILE.values(), b"x: " + b"[" * 64 + b"]" * 64)
            )
        )
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)

    assert {item.code for item in found} <= {"M012", "M028"}
    assert len(found) == len(HOSTILE) + 1


def test_without_the_look_at_the_bytes_libyaml_would_end_the_process():
    """The control of the two tests above: the danger is real, and a thread is enough for it."""
    program = (
        "import resource, threading, yaml\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "threading.stack_size(256 * 1024)\n"
        "bomb = lambda: yaml.compose('[' * 20_000 + ']' * 20_000, Loader=yaml.CBaseLoader)\n"
        "thread = threading.Thread(target=bomb)\n"
        "thread.start()\n"
        "thread.join()\n"
    )

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert run.returncode == -signal.SIGSEGV


def test_twelve_levels_are_allowed():
    deepest = MINIMAL + b"x-a: " + b"[" * 11 + b"]" * 11

    metadata, found = read_manifest(deepest, "plugin.yaml")

    assert (metadata is not None, found) == (True, ())


def test_a_manifest_over_64_kib_is_refused_unread(parser):
    at_most = MINIMAL + b"#" * (64 * 1024 - len(MINIMAL))

    assert read_manifest(at_most, "plugin.yaml")[1] == ()
    assert only_problem(at_most + b"#").code == "M013"
    assert "600,005" in only_problem(b"x" * 600_005).message


def test_too_many_values_are_refused(parser):
    fits = MINIMAL + b"x-a: [" + b"1," * 1_980 + b"]\n"
    many = MINIMAL + b"x-a: [" + b"1," * 2_100 + b"]\n"

    assert read_manifest(fits, "plugin.yaml")[1] == ()
    assert only_problem(many).code == "M013"


def test_a_tab_used_for_indentation_is_called_that(parser):
    problem = only_problem(b"config_schema:\n\ttype: object\n")

    assert problem.code == "M014"
    assert problem.line == 2


@pytest.mark.parametrize(
    ("data", "name", "place"),
    [
        (b"name: a\x00b\n", "U+0000", (1, 8)),
        (b"name: ab\nversion: \x1b[31m1\n", "U+001B", (2, 10)),
        ("name: é\u202eb\n".encode(), "U+202E", (1, 8)),
        ("\ufeffname: é\u2066b\n".encode(), "byte 11", (1, 8)),
        ("name: a\u0085b\nauthor: \u009b\n".encode(), "U+009B", (2, 9)),
    ],
)
def test_control_and_hiding_characters_are_refused_where_they_stand(data, name, place):
    problem = only_problem(data)

    assert problem.code == "M015"
    assert name in problem.message
    assert (problem.line, problem.column) == place


@pytest.mark.parametrize(
    ("data", "byte"),
    [
        ("name: ab".encode("utf-16"), 0),
        ("author: José".encode("latin-1"), 11),
        (b"name: \xed\xa0\x80", 6),
        (b"name: \xc0\xaf", 6),
    ],
)
def test_text_that_is_not_utf_8_names_the_byte(data, byte):
    data = data.replace(b"\x00", b"")
    problem = only_problem(data)

    assert problem.code == "M016"
    assert f"byte {byte} " in problem.message


def test_a_second_document_is_refused(parser):
    problem = only_problem(MINIMAL + b"---\nname: other\n")

    assert problem.code == "M017"
    assert problem.line == 6


@pytest.mark.parametrize(
    "data",
    [b"name: [\n", b"a: b: c\n", b"'open", b"a: }\n", b"%YAML 9.9\n---\na: b\n", b"? a: [\n b"],
)
def test_broken_yaml_is_one_located_problem(data, parser):
    problem = only_problem(data)

    assert problem.code == "M028"
    assert problem.line >= 1


def test_a_key_that_is_a_list_is_refused(parser):
    problem = problems(MINIMAL + b"? [a, b]\n: c\n")[0]

    assert (problem.code, problem.line) == ("M006", 6)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1", 1),
        ("-2.5", -2.5),
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("True", "True"),
        ("1.10.3", "1.10.3"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-12", "2026-01-12"),
        (".inf", ".inf"),
        (".nan", ".nan"),
    ],
)
def test_free_form_values_are_json_numbers_and_words_and_else_text(written, read, parser):
    metadata, found = read_manifest(MINIMAL + f"x-a: {written}\n".encode(), "plugin.yaml")

    assert found == ()
    assert metadata is not None
    value = metadata.extensions.get("x-a")
    assert (value, type(value)) == (read, type(read))


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 30, "0." + "1" * 40])
def test_numbers_beyond_any_measurement_are_refused(number):
    assert only_problem(MINIMAL + f"x-a: {number}\n".encode()).code == "M041"


def test_thousands_of_problems_are_counted_and_not_all_listed():
    data = b"".join(b"unknown_%d: 1\n" % number for number in range(900))

    found = problems(data)

    assert len(found) == 101
    assert found[-1].code == "M040"
    assert "805 more" in found[-1].message


def test_a_directory_and_a_fifo_are_refused_without_waiting(tmp_path: Path):
    fifo = tmp_path / "plugin.yaml"
    os.mkfifo(fifo)

    for path in (tmp_path, fifo):
        with pytest.raises(ManifestError, match="M018 is not a regular file"):
            read_bytes(path)


def test_no_more_of_a_file_is_read_than_is_allowed(tmp_path: Path):
    path = tmp_path / "plugin.yaml"
    path.write_bytes(b"#" * 1_000_000)

    assert len(read_bytes(path)) == 64 * 1024 + 1
    with pytest.raises(ManifestError, match="M013"):
        PluginMetadata.from_yaml(path)


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_files_are_read_as_utf_8_in_any_locale(locale, tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("PYTHONUTF8", "0")
    path = tmp_path / "plugin.yaml"
    path.write_bytes(GOOD)

    assert PluginMetadata.from_yaml(path).author == "José Lab <lab@example.org>"


def test_peek_finds_what_can_still_be_read_of_a_broken_manifest():
    broken = b"name: k2400\nversion: '1.10' # old\nauthor: \"A: B\"\nsupported_models: [\n  x: {"

    assert peek(broken) == {"name": "k2400", "version": "1.10", "author": "A: B"}
    assert peek(b"{name: k2400, version: banana, supported_models: {}}") == {
        "name": "k2400",
        "version": "banana",
    }
    assert peek(b"\xff\xfe\x00") == {}
    assert peek(b"name: &a [x]\nversion: *a\n") == {}


TOKENS = st.sampled_from(
    [
        b"*a",
        b"&a ",
        b"!!python/object/apply:os.system [id]",
        b"{",
        b"[",
        b"}",
        b"]",
        b"\t",
        b"\x00",
        b"\xff",
        b": ",
        b"- ",
        b"|\n",
        b">",
        b"'",
        b'"',
        b"%YAML 9.9\n",
        b"---\n",
        b"...\n",
        b"<<: ",
        b"\xef\xbb\xbf",
        b"\xf0\x9f\x92\xa5",
        b"[" * 100,
        b"?",
        b"\r",
        b"\x85",
        b"\xe2\x80\xa8",
        b"0x",
        b"~",
        b"..\\..\\",
        b"/etc/passwd",
        b"#",
        b",",
        b"\n",
        b"  ",
        b"1e999",
        b"null",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        action = draw(st.sampled_from(["insert", "cut", "flip", "copy"]))
        if action == "insert":
            data[at:at] = draw(TOKENS)
        elif action == "cut":
            del data[at : at + draw(st.integers(1, 20))]
        elif action == "flip" and data:
            data[at % len(data)] = draw(st.integers(0, 255))
        else:
            start = draw(st.integers(0, len(data)))
            data[at:at] = data[start : start + draw(st.integers(1, 60))]
    return bytes(data)


def check_answer(data: bytes) -> None:
    metadata, found = read_manifest(data, "plugin.yaml")

    errors = [item for item in found if item.severity == "error"]
    assert (metadata is None) == bool(errors)
    lines = data.count(b"\n") + data.count(b"\r") + data.count(b"\xc2\x85") + 1
    lines += data.count(b"\xe2\x80\xa8") + data.count(b"\xe2\x80\xa9")
    for item in found:
        assert item.code[0] in "MD"
        assert 0 <= item.line <= lines + 1
        assert "\n" not in item.message
        assert len(item.message) < 800
    if metadata is not None:
        assert PluginMetadata.from_dict(metadata.to_dict()) == metadata
    assert all(isinstance(value, str) for value in peek(data).values())


@given(mutated())
@example(b"[" * 60_000)
@example(b"!" * 60_000)
@example(b"%" * 60_000)
@example(b"'" * 60_000)
@example(b"a:\n" + b" " * 60_000 + b"b")
@example(b"a: " + b"," * 60_000)
@example(b"? " * 30_000)
def test_a_mutated_manifest_gives_metadata_or_problems_and_never_an_exception(data):
    check_answer(data)


@given(st.binary(max_size=300))
def test_any_bytes_give_metadata_or_problems(data):
    check_answer(data)


YAML_TEXT = st.text(st.sampled_from("ab:-?[]{},&*!|>'\"%#@ \n\t~.1"), max_size=60)


@given(YAML_TEXT)
def test_what_the_bytes_are_said_to_prove_is_true(text):
    data = text.encode()
    if not reader_module._is_tame(data):
        return
    try:
        events = list(yaml.parse(data, Loader=yaml.BaseLoader))
    except yaml.YAMLError:
        return
    for event in events:
        assert not isinstance(event, yaml.AliasEvent)
        assert getattr(event, "anchor", None) is None
        assert not getattr(event, "tag", None)


@given(YAML_TEXT)
def test_both_parsers_agree_on_what_is_a_manifest(text):
    data = MINIMAL + b"x-a: " + text.encode()
    fast = read_manifest(data, "plugin.yaml")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", False)
        patch.setattr(reader_module, "_Composer", reader_module._composer())
        slow = read_manifest(data, "plugin.yaml")[0]

    # They differ on a few forms that one of them refuses; never on what a manifest says.
    if fast is not None and slow is not None:
        assert fast == slow
