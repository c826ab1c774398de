"""What a manifest claims beside names: techniques, and resolutions; a claim that cannot be true."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from drivebay._core.errors import Diagnostic
from drivebay._core.manifest import PluginMetadata, read_manifest, shapes
from drivebay._core.manifest.fields import REQUIRED, check_fields
from drivebay._core.methods import TECHNIQUES
from drivebay._core.session import lacks_of, ranges_for

SMU = {"voltage_v": [-210, 210], "current_a": [-1, 1]}
BRIDGE = {"voltage_v": [-40, 40], "frequency_hz": [20, 2e6], "ac_level_v": [0.005, 2]}


def given_claims(
    ranges: dict[str, Any], **methods: Any
) -> tuple[PluginMetadata | None, tuple[Diagnostic, ...]]:
    manifest = {
        "name": "meter",
        "version": "1.0.0",
        "author": "Lab",
        "description": "A meter",
        "driver_class": "driver.Meter",
        "supported_methods": ["cv_measurement"],
        "ranges": ranges,
        "methods": methods,
    }
    return read_manifest(yaml.safe_dump(manifest, sort_keys=False).encode(), "plugin.yaml")


def codes(ranges: dict[str, Any], **methods: Any) -> list[str]:
    _, found = given_claims(ranges, **methods)
    assert all(each.line for each in found)
    return [each.code for each in found]


def test_a_bridge_may_claim_ac_and_a_source_measure_unit_may_claim_a_ramp():
    assert codes({"E4980A": BRIDGE}, cv_measurement={"technique": "ac"}) == []
    assert codes({"2400": SMU}, cv_measurement={"technique": "quasi_static"}) == []


def test_a_dc_source_measure_unit_never_claims_ac():
    metadata, found = given_claims(
        {"E4980A": BRIDGE, "2400": SMU}, cv_measurement={"technique": "ac"}
    )

    assert metadata is None
    assert [each.code for each in found] == ["M047"]
    assert "model 2400 has no range frequency_hz" in found[0].message


def test_ac_is_not_claimed_without_any_range():
    assert codes({}, cv_measurement={"technique": "ac"}) == ["M047"]


@pytest.mark.parametrize("technique", ["AC", "dc", "", 3])
def test_a_technique_that_is_not_known_is_refused(technique):
    assert codes({"2400": SMU}, cv_measurement={"technique": technique}) == ["M046"]


def test_only_a_capacitance_has_a_technique():
    assert codes({"2400": SMU}, iv_sweep={"technique": "ac"}) == ["M046"]


def test_the_techniques_of_manifests_are_those_of_the_methods():
    assert shapes.TECHNIQUES == TECHNIQUES


def test_a_driver_is_told_its_technique_with_its_ranges():
    metadata, _ = given_claims({"2400": SMU}, cv_measurement={"technique": "quasi_static"})
    assert metadata is not None

    ranges = ranges_for(metadata, "2400")

    assert ranges is not None
    assert ranges["techniques"] == {"cv_measurement": "quasi_static"}


def test_a_resolution_is_a_step_above_zero_of_a_known_quantity():
    metadata, found = given_claims({"2400": {**SMU, "resolution": {"current_a": "1e-11"}}})

    assert found == ()
    assert metadata is not None
    assert metadata.ranges == {"2400": {**SMU, "resolution": {"current_a": 1e-11}}}


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [
        ({"current_a": 0}, ["M036"]),
        ({"current": 1e-9}, ["M036"]),
        ({"current_a": "fine"}, ["M041"]),
        (1e-9, ["M036"]),
    ],
)
def test_a_resolution_that_makes_no_sense_is_refused(resolution, expected):
    assert codes({"2400": {**SMU, "resolution": resolution}}) == expected


@pytest.mark.parametrize(
    ("lacks", "expected"),
    [
        (["cv_measurement"], []),
        (["cv_mesurement"], ["M049"]),
        (["iv_sweep"], ["M049"]),
        ("cv_measurement", ["M006"]),
        ([""], ["M006"]),
        (5, ["M006"]),
    ],
)
def test_a_model_lacks_only_what_its_plugin_claims(lacks, expected):
    assert codes({"2400": {**SMU, "lacks": lacks}}) == expected


def test_what_a_model_lacks_is_no_limit_of_it():
    metadata, _ = given_claims({"24*": {**SMU, "lacks": ["cv_measurement"]}})

    assert metadata is not None
    assert "lacks" not in (ranges_for(metadata, "2400") or {})
    assert lacks_of(metadata, "2400") == {"cv_measurement"}
    assert lacks_of(metadata, "6430") == frozenset()


@pytest.mark.parametrize("method", ["iv_sweep", "transfer_curv"])
def test_two_instruments_measure_curves_together_and_nothing_else(method):
    problems: list[Any] = []

    check_fields({"paired_methods": [method]}, problems, frozenset(REQUIRED))

    assert [each.code for each in problems] == ["M048"]


def test_control_curves_are_measured_together():
    problems: list[Any] = []

    check_fields({"paired_methods": ["output_curve"]}, problems, frozenset(REQUIRED))

    assert problems == []
