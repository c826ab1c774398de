"""The ten methods, the context manager, and the claim a class makes."""

from __future__ import annotations

from typing import Any

import pytest

from drivebay._core.contract import (
    InstrumentDriver,
    Resumable,
    ScpiDriver,
    Streaming,
    driver_plugin,
    plugin_metadata,
)
from drivebay._core.errors import LinkError, LinkOpenError, ManifestError

SEED_METHODS = {
    "__init__",
    "abort",
    "configure",
    "connect",
    "disconnect",
    "get_capabilities",
    "get_identity",
    "get_status",
    "measure",
    "reset",
}


class Recorder(InstrumentDriver):
    """A driver in the style of the origin; says what was done to it."""

    connects: Any = True
    disconnects: Any = True
    trouble: tuple[str, ...] = ()

    def __init__(self, resource_name: str, config: dict[str, Any] | None = None) -> None:
        self.resource_name = resource_name
        self.done: list[str] = []

    def _do(self, what: str, result: Any = None) -> Any:
        self.done.append(what)
        if what in self.trouble:
            raise OSError(f"{what} broke")
        return result

    def connect(self) -> bool:
        return self._do("connect", self.connects)

    def disconnect(self) -> bool:
        return self._do("disconnect", self.disconnects)

    def reset(self) -> None:
        self._do("reset")

    def get_identity(self) -> dict[str, str]:
        return {}

    def get_capabilities(self) -> list[str]:
        return []

    def configure(self, method: str, params: dict[str, Any]) -> None:
        self._do("configure")

    def measure(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return {}

    def abort(self) -> None:
        self._do("abort")

    def get_status(self) -> dict[str, Any]:
        return {}


def test_the_contract_is_the_ten_methods_of_the_origin_and_no_more():
    assert set(InstrumentDriver.__abstractmethods__) == SEED_METHODS


def test_a_class_that_lacks_a_method_cannot_be_made():
    class Half(InstrumentDriver):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half("x")


def test_what_came_later_is_optional_and_a_class_of_the_origin_stays_a_driver():
    driver = Recorder("x")

    assert isinstance(driver, InstrumentDriver)
    assert not isinstance(driver, Streaming)
    assert not isinstance(driver, Resumable)
    assert isinstance(ScpiDriver("x"), Streaming)


def test_with_connects_and_disconnects():
    with Recorder("x") as driver:
        assert driver.done == ["connect"]

    assert driver.done == ["connect", "disconnect"]


@pytest.mark.parametrize("answer", [False, None])
def test_with_does_not_run_its_body_after_a_connect_that_failed(answer):
    class Refusing(Recorder):
        connects = answer

    with pytest.raises(LinkOpenError, match=f"returned {answer}"), Refusing("x"):
        pytest.fail("the body ran")


def test_a_body_that_raises_aborts_before_it_disconnects():
    driver = Recorder("x")

    with pytest.raises(ZeroDivisionError), driver:
        raise ZeroDivisionError

    assert driver.done == ["connect", "abort", "disconnect"]


def test_errors_on_the_way_out_are_noted_on_the_bodys_error_and_never_hide_it():
    class Broken(Recorder):
        trouble = ("abort", "disconnect")

    with pytest.raises(ZeroDivisionError) as caught, Broken("x"):
        raise ZeroDivisionError

    notes = "\n".join(caught.value.__notes__)
    assert "abort() raised OSError: abort broke" in notes
    assert "disconnect() raised OSError: disconnect broke" in notes


def test_an_error_of_disconnect_is_raised_when_the_body_was_fine():
    class Broken(Recorder):
        trouble = ("disconnect",)

    class Refusing(Recorder):
        disconnects = False

    with pytest.raises(OSError, match="disconnect broke"), Broken("x"):
        pass
    with pytest.raises(LinkError, match="returned False"), Refusing("x"):
        pass


# -- @driver_plugin -------------------------------------------------------------------------------

CLAIM: dict[str, Any] = {
    "name": "acme_1",
    "version": "1.10",
    "author": "A. Tester",
    "description": "ACME model 1",
    "supported_methods": ["iv_sweep"],
    "supported_models": ["1"],
}


def test_the_decorator_attaches_what_it_was_told():
    decorated = driver_plugin(**CLAIM, dependencies=["numpy>=1"])(Recorder)
    try:
        metadata = plugin_metadata(decorated)

        assert decorated is Recorder
        assert metadata is not None
        assert (metadata.name, metadata.version) == ("acme_1", "1.10")
        assert metadata.dependencies == ["numpy>=1"]
        assert metadata.driver_class == f"{Recorder.__module__}.Recorder"
    finally:
        del Recorder._plugin_metadata  # type: ignore[attr-defined]


def test_a_subclass_does_not_inherit_the_claim():
    @driver_plugin(**CLAIM)
    class Claimed(Recorder):
        pass

    class Derived(Claimed):
        pass

    assert plugin_metadata(Claimed) is not None
    assert plugin_metadata(Derived) is None


def test_a_nested_class_is_named_by_its_own_qualname():
    class Outer:
        @driver_plugin(**CLAIM)
        class Inner(Recorder):
            pass

    metadata = plugin_metadata(Outer.Inner)

    assert metadata is not None
    assert metadata.driver_class.endswith("Outer.Inner")


def test_a_driver_class_that_is_given_is_kept():
    @driver_plugin(**CLAIM, driver_class="pkg.module.Class")
    class Claimed(Recorder):
        pass

    metadata = plugin_metadata(Claimed)

    assert metadata is not None
    assert metadata.driver_class == "pkg.module.Class"


def test_every_problem_with_the_arguments_is_told_at_once():
    wrong = CLAIM | {"name": "../x", "version": "banana", "homepge": "x"}

    with pytest.raises(ManifestError) as caught:
        driver_plugin(**wrong)(Recorder)

    text = str(caught.value)
    assert "../x" in text
    assert "banana" in text
    assert "homepage" in text
    assert plugin_metadata(Recorder) is None
