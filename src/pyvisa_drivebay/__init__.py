"""A PyVISA backend: any program on PyVISA talks through Drivebay's keeper, under its lease.

PyVISA finds it by the name of the package: ``pyvisa.ResourceManager("@drivebay")``, or
``PYVISA_LIBRARY=@drivebay`` in the environment.
"""

from __future__ import annotations

from pyvisa_drivebay.library import DrivebayVisaLibrary

__all__ = ["WRAPPER_CLASS"]

WRAPPER_CLASS = DrivebayVisaLibrary
