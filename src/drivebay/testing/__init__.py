"""Test a driver: is it right, on a simulator or on the instrument, and does it stay so?

    from drivebay.testing import check_driver

    report = check_driver("my_plugins/my_smu", "TCPIP::127.0.0.1::5025::SOCKET")
    assert report.level == "gold", str(report)

Promises: stands on the public modules alone, so that whatever it does a test of yours can do too;
nothing is imported before it is used. Never judges the numbers: what a device should measure only
its own tests know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drivebay.testing.conformance import check_driver
    from drivebay.testing.replaying import recorded, replayed
    from drivebay.testing.report import LEVELS, Check, Report

_HOMES = {
    "LEVELS": "report",
    "Check": "report",
    "Report": "report",
    "check_driver": "conformance",
    "recorded": "replaying",
    "replayed": "replaying",
}

__all__ = ["LEVELS", "Check", "Report", "check_driver", "recorded", "replayed"]


def __getattr__(name: str) -> Any:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'drivebay.testing' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"drivebay.testing.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
