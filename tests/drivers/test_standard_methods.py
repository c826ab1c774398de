"""Every standard method on every built-in driver that claims it: it means the same everywhere.

A driver's folder is found by its manifest. Its simulator is ``tests/drivers/simulated/NAME.py``:

- ``MODEL``: which of the manifest's models it simulates;
- ``PARAMETERS`` (optional): by method, what its device needs beside the smallest parameters;
- ``CONFIG`` (optional): the options of the driver;
- ``simulator(*, real_time)``: a context that starts it on a port of its own and gives an object
  with ``resource``, ``messages()`` (what it was sent, in order), ``output_on()`` (whether any
  output is), ``wait_until_measuring()`` (until an output is on, or a reading has begun) and
  ``errors()`` (what it put into its error queue since its start).
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivebay
from drivebay import (
    AbortedError,
    Bay,
    ParameterError,
    PluginMetadata,
    limit_refusals,
    ranges_for,
)
from drivebay.driver import STANDARD, Field, fields
from drivebay.testing import sample

DRIVERS = Path(drivebay.__file__).parent / "drivers"
SIMULATED = Path(__file__).parent / "simulated"
MANIFESTS = {
    path.parent.name: PluginMetadata.from_yaml(path) for path in DRIVERS.glob("*/plugin.yaml")
}
CLAIMS = [
    pytest.param(name, method, id=f"{name}-{method}")
    for name, manifest in sorted(MANIFESTS.items())
    for method in manifest.supported_methods
    if method in STANDARD and (SIMULATED / f"{name}.py").exists()
]
# Longer than any test waits: each of these is stopped.
LONG: dict[str, Any] = {
    "points": 2000,
    "readings": 100_000,
    "duration_s": 3600.0,
    "interval_s": 0.05,
    "delay_s": 30.0,
    "nplc": 1.0,
}


def simulation(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"simulated_{name}", SIMULATED / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranges_of(name: str) -> dict[str, Any]:
    return ranges_for(MANIFESTS[name], simulation(name).MODEL) or {}


def small(name: str, method: str) -> dict[str, Any]:
    """Parameters of a short measurement that the simulated device takes."""
    special = getattr(simulation(name), "PARAMETERS", {}).get(method, {})
    return {**sample.smallest(STANDARD[method], ranges_of(name)), **special}


class Benches:
    """A bay, and one simulator and one session for each driver, opened when first asked for."""

    def __init__(self, bay: Bay) -> None:
        self.bay = bay
        self._open: dict[str, tuple[Any, Any, Any]] = {}

    def __getitem__(self, name: str) -> tuple[Any, Any]:
        if name not in self._open:
            module = simulation(name)
            context = module.simulator(real_time=False)
            sim = context.__enter__()
            instrument = self.bay.open(
                sim.resource,
                plugin=name,
                isolation="inline",
                config=getattr(module, "CONFIG", {}),
            )
            self._open[name] = context, sim, instrument
        _, sim, instrument = self._open[name]
        return sim, instrument

    def close(self) -> None:
        self.bay.close()
        for context, _, _ in self._open.values():
            context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benches]:
    home = tmp_path_factory.mktemp("standard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIVEBAY_HOME", str(home))
        patch.setenv("DRIVEBAY_LEASES", str(home / "leases"))
        found = Benches(Bay(home=home))
        yield found
        found.close()


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_every_driver_that_claims_a_standard_method_has_a_simulator_here(name):
    claimed = set(MANIFESTS[name].supported_methods) & set(STANDARD)

    assert not claimed or (SIMULATED / f"{name}.py").exists()


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_the_columns_are_the_standard_ones_in_name_unit_and_kind(benches, name, method):
    _, instrument = benches[name]

    run = instrument.measure(method, **small(name, method))

    spec = STANDARD[method]
    declared = {column.name: column for column in spec.columns or ()}
    assert list(run.columns) == list(declared)
    assert dict(run.units) == {name: column.unit for name, column in declared.items()}
    for column, told in declared.items():
        assert run[column].dtype.kind == {"float": "f", "int": "i", "bool": "b"}[told.kind]
    assert run.state == "done"
    assert len(run) > 0


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_time_starts_near_zero_and_rises(benches, name, method):
    _, instrument = benches[name]

    run = instrument.measure(method, **small(name, method))

    assert -1e-3 <= run["time_s"][0] < 60
    assert np.all(np.diff(run["time_s"]) >= 0)


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_as_many_points_come_as_the_parameters_mean(benches, name, method):
    _, instrument = benches[name]
    params = small(name, method)

    run = instrument.measure(method, **params)

    values = instrument_parameters(method, params)
    counts = (getattr(values, each, None) for each in ("rows", "steps", "readings"))
    assert len(run) == next((count for count in counts if count), 1)


def instrument_parameters(method: str, params: dict[str, Any]) -> Any:
    from drivebay._core.methods import validate

    return validate(STANDARD[method], params)


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_the_output_is_off_afterwards_and_nothing_was_refused(benches, name, method):
    sim, instrument = benches[name]
    before = len(sim.errors())

    instrument.measure(method, **small(name, method))

    assert not sim.output_on()
    assert sim.errors()[before:] == []


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_a_bench_with_limits_lets_all_of_its_commands_through(benches, name, method):
    sim, instrument = benches[name]
    before = len(sim.messages())

    instrument.measure(method, **small(name, method))

    sent = [text.encode() for text in sim.messages()[before:]]
    assert sent
    assert limit_refusals(MANIFESTS[name], simulation(name).MODEL, sent) == []


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_what_the_model_cannot_do_is_refused_before_anything_is_sent(benches, name, method):
    sim, instrument = benches[name]
    bad = sample.beyond(STANDARD[method], small(name, method), ranges_of(name))
    before = len(sim.messages())

    for params in bad:
        with pytest.raises(ParameterError):
            instrument.measure(method, **params)

    assert len(sim.messages()) == before
    # A meter that is only told how to read may have no number with a limit that can be passed.
    assert bad or method in {"dc_voltage", "dc_current", "resistance"}


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_a_stream_that_is_left_leaves_the_output_off(benches, name, method):
    sim, instrument = benches[name]
    longer = {**small(name, method), **long_parameters(name, method, slow=False)}

    chunks = iter(instrument.stream(method, **longer))
    next(chunks)
    chunks.close()

    assert not sim.output_on()


@pytest.mark.parametrize(("name", "method"), CLAIMS)
def test_an_abort_ends_it_with_the_output_off(benches, name, method):
    module = simulation(name)
    ended: list[BaseException] = []
    params = {**small(name, method), **long_parameters(name, method, slow=True)}
    with module.simulator(real_time=True) as sim:
        config = getattr(module, "CONFIG", {})
        with benches.bay.open(sim.resource, plugin=name, config=config) as instrument:

            def measure() -> None:
                try:
                    instrument.measure(method, **params)
                except BaseException as exc:  # noqa: BLE001 - it is looked at below
                    ended.append(exc)

            thread = threading.Thread(target=measure)
            thread.start()
            try:
                sim.wait_until_measuring()
            finally:
                instrument.abort()
                thread.join(timeout=20)

            assert not thread.is_alive()
            assert not sim.output_on()
    assert [type(each) for each in ended] == [AbortedError]


def long_parameters(name: str, method: str, *, slow: bool) -> dict[str, Any]:
    """What makes the method take long: in points, and where ``slow`` in time as well."""
    known = {field.name: field for field in fields(STANDARD[method])}
    special = getattr(simulation(name), "PARAMETERS", {}).get(method, {})
    wanted = {key: value for key, value in LONG.items() if key in known and key not in special}
    if not slow:
        wanted = {key: value for key, value in wanted.items() if known[key].kind == "int"}
    ranges = ranges_of(name)
    for key, value in wanted.items():
        span = ranges.get(known[key].limit)
        if span is not None:
            wanted[key] = min(max(value, span[0]), span[1])
    return wanted


def variations(field: Field, ranges: dict[str, Any]) -> st.SearchStrategy[Any] | None:
    """Values that a parameter may well have; None leaves it as it is."""
    if field.kind == "bool":
        return st.booleans()
    if field.name == "points":
        return st.integers(2, 40)
    if field.name == "readings":
        return st.integers(1, 40)
    if field.name == "nplc":
        low, high = ranges.get("nplc", (0.1, 1.0))
        return st.floats(max(low, 0.01), min(high, 10.0))
    if field.name == "averages":
        return st.integers(1, 4)
    return None


@pytest.mark.parametrize(("name", "method"), CLAIMS)
@given(data=st.data())
@settings(max_examples=12)
def test_whatever_the_parameters_it_is_whole_within_its_limits_and_off_afterwards(
    benches, name, method, data
):
    sim, instrument = benches[name]
    ranges = ranges_of(name)
    params = small(name, method)
    for field in fields(STANDARD[method]):
        choices = variations(field, ranges)
        if choices is not None:
            params[field.name] = data.draw(choices, label=field.name)
    before = len(sim.errors())

    run = instrument.measure(method, **params)

    values = instrument_parameters(method, params)
    counts = (getattr(values, each, None) for each in ("rows", "steps", "readings"))
    assert len(run) == next((count for count in counts if count), 1)
    assert np.all(np.diff(run["time_s"]) >= 0)
    assert not sim.output_on()
    assert sim.errors()[before:] == []
    for column, quantity in (("voltage_v", "voltage_v"), ("current_a", "current_a")):
        span = ranges.get(quantity)
        if column in run.columns and span is not None:
            # A reading may be off by what the instrument's own noise and range allow.
            assert np.nanmax(np.abs(run[column])) <= 1.06 * max(map(abs, span))
    limit_a = params.get("compliance_a")
    if limit_a and "current_a" in run.columns:
        assert np.nanmax(np.abs(run["current_a"])) <= 1.06 * limit_a + 1e-9
