"""Hosts: a process for each driver, and the owner's side of it.

``client`` starts one and asks it, ``facts`` is what it is told; ``nursery`` has the processes they
come from, ``monitor`` and ``life`` hear and judge. In the process itself ``program`` begins,
``serve`` takes the calls, ``driving`` runs them, ``attend`` stands beside. ``crossing`` and
``settings`` are both sides'. Nothing of the owner's side imports plugin code or what runs it.
"""

from __future__ import annotations

from drivebay._core.host.client import Host
from drivebay._core.host.facts import Code, Connected, Exit, Loaded, spec_of_plain
from drivebay._core.host.nursery import best_nursery, interpreters, zygote
from drivebay._core.host.settings import Limits

__all__ = [
    "Code",
    "Connected",
    "Exit",
    "Host",
    "Limits",
    "Loaded",
    "best_nursery",
    "interpreters",
    "spec_of_plain",
    "zygote",
]
