"""The quick road reads what libyaml would read, or leaves it to libyaml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from drivebay._core.manifest import read_manifest, reader
from drivebay._core.manifest.quick import scan
from drivebay._core.manifest.text import Problem

SOURCE = Path(__file__).parents[2] / "src"

USUAL = """\
# a comment of its own line
name: vendor_00123
version: 1.10
author: Lab Team <lab@example.org>
description: Driver number 123, for a "source measure" unit: no!

supported_methods: [iv_sweep, no, 1.10]
supported_models:
- M123A
- 2400
dependencies:
    - 'pyvisa>=1.13'
driver_class: "vendor.driver.Driver"
config_schema:
  type: object
  properties:
    nplc:
      type: number
      minimum: 0.01
      default: -1
    wires:
      enum: [2, 4]
  required:
  - nplc
max_platform_version:
"""


def by_libyaml(data: bytes) -> tuple[object, list[Problem]]:
    root, problems = reader.compose(data)
    if root is None:
        return None, problems
    return reader.top_values(root, len(data), problems), problems


def hold_together(data: bytes) -> None:
    quick = scan(data)
    if quick is None:
        return
    slow, problems = by_libyaml(data)

    assert problems == []
    assert repr(quick) == repr(slow)


def test_the_usual_manifest_takes_the_quick_road():
    data = USUAL.replace("unit: no!", "unit").encode()

    quick = scan(data)

    assert quick is not None
    assert quick["supported_methods"] == ["iv_sweep", "no", "1.10"]
    assert quick["supported_models"] == ["M123A", "2400"]
    assert quick["config_schema"]["properties"]["nplc"]["default"] == -1
    assert quick["max_platform_version"] is None
    hold_together(data)


@pytest.mark.parametrize(
    "line",
    [
        "a: b: c",
        "a: b #c",
        "a: b # c",
        "a: b ",
        "a: &x b",
        "a: *x",
        "a: !x b",
        "a: |",
        "a: >",
        "a: {b: c}",
        "a: [[b]]",
        "a: [b, *c]",
        "a: [b, 'c']",
        "a: [b:c]",
        'a: "x\\ty"',
        "a: 'it''s'",
        "a: - b",
        "a: ? b",
        "a: ~",
        "a:\tb",
        "? a",
        "- a: b",
        "- - b",
        "---",
        "...",
        "%YAML 1.1",
        "a: b\n  c",
        "a: b\n\n  c",
        "a: 'b\n  c'",
        "a: 1e999",
        "a: b\na: c",
        "<<: b",
        "[a]: b",
        "a: \u00e9",
        "a: @b",
        "a: `b",
        "a: %b",
        "a:b",
        "a",
        "-a: b\n- c",
    ],
)
def test_whatever_is_not_of_the_known_shape_is_left_to_libyaml(line):
    for data in (f"x-a: 1\n{line}\n", f"{line}\nx-a: 1\n", f"x-a:\n  k: 1\n  {line}\n"):
        hold_together(data.encode())
    assert scan(f"{line}\n".replace("a", "x-a").encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "a:\n- b\nc: d",
        "a:\n  - b\nc: d",
        "a:\n  - b\n - c",
        "a:\n  b: c\n d: e",
        "a:\n    b: c\n  d: e",
        "a:\nb:\n",
        "a:\n  b:\n  c:\n- d",
        "a:\n  b:\n  - c\n  d: e\nf: g",
        "a:\n  b:\n    c:\n- d",
        " a: b\n c: d",
        "a: 1\n- b",
        "- b\n",
        "a:\n- 1\n- -1\n- 'x'\n- null\n- .5",
        "a:\n\n  # comment\n  - b\n # other\n  - c",
        "a: - b",
        "a: b:c:d",
        "a: b#c",
        "2400: x\nnull: y\ntrue: z",
        "a: 'b' \nc: d",
        "a: ''\nb: \"\"",
        "a: [ b , c ]\nd: [e ]",
        "",
        "\n\n",
        "# only",
    ],
)
def test_indentation_means_the_same_on_both_roads(text):
    for prefix in ("", "x-"):
        hold_together((prefix + text if text[:1].isalnum() else text).encode())


WORDS = st.sampled_from(
    [
        "a",
        "b",
        "x-a",
        "name",
        "config_schema",
        "24",
        "-1",
        "1.5",
        "true",
        "null",
        "no",
        "b c",
        "a:b",
        "a#b",
        "'q'",
        '"q"',
        "[a, 1]",
        "[ a ]",
        "~",
        "",
        "- a",
        "a: b",
        "#",
        "/x",
        "(y)",
        "1e5",
        "'",
        "+1",
        ".5",
        "[",
        "]",
        "{}",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "a ",
        "---",
        "...",
    ]
)
LINES = st.tuples(
    st.integers(0, 4),
    st.sampled_from(
        ["{0}: {1}", "{0}:", "- {1}", "{0}: {1}", "-{1}", "{0}:{1}", "{1}", "# {1}", ""]
    ),
    st.sampled_from(["a", "b", "c", "x-a", "name", "config_schema", "24", "ranges"]),
    WORDS,
).map(lambda parts: " " * parts[0] + parts[1].format(parts[2], parts[3]))


@given(st.lists(LINES, min_size=1, max_size=9))
@example(["a:", "  b:", "  - c", "  d: e"])
@example(["a: b", "", "", "  c"])
def test_lines_of_any_kind_mean_the_same_on_both_roads(lines):
    hold_together("\n".join(lines).encode())


TREE = st.recursive(
    st.text(st.sampled_from("ab1 .:#-'"), max_size=6) | st.integers() | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "x-c", "24"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["name", "x-a", "config_schema", "b"]), TREE, max_size=4))
def test_dumped_data_means_the_same_on_both_roads(tree):
    hold_together(yaml.safe_dump(tree, sort_keys=False).encode())


def test_a_problem_found_on_the_quick_road_still_has_its_place():
    data = (
        USUAL.replace("unit: no!", "unit").replace("version: 1.10", "version: banana", 1).encode()
    )
    assert scan(data) is not None

    _, found = read_manifest(data, "plugin.yaml")

    assert [str(item)[:27] for item in found] == ["plugin.yaml:3:10: M009 vers"]


def test_reading_the_usual_manifest_imports_no_parser_and_no_checker(tmp_path):
    path = tmp_path / "plugin.yaml"
    path.write_text(USUAL.replace("unit: no!", "unit"))
    program = (
        "import sys\n"
        "from drivebay._core.manifest import PluginMetadata\n"
        "PluginMetadata.from_yaml(sys.argv[1])\n"
        "print(sorted({'yaml', 'packaging', 'jsonschema_rs', 'numpy'} & set(sys.modules)))\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stdout, run.stderr) == ("[]\n", "")
