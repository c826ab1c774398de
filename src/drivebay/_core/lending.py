"""A link for a program that brings a driver of its own: the bench's limits and safe state hold.

Promises: what the bench file says of an instrument holds for whoever opens it here, as it does for
a driver; where that cannot be (nobody knows the instrument's commands), it is not opened. Closing
leaves it as the bench's policy says. Loads no plugin code: the manifest is enough.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from drivebay._core.bench import Bench, BenchInstrument, find_bench, identity_problem, load_bench
from drivebay._core.errors import (
    DrivebayError,
    IdentityError,
    LinkError,
    ManifestError,
    NoDriverError,
    PluginNotFoundError,
)
from drivebay._core.index import parse_idn
from drivebay._core.keeper import (
    GRANT_VARIABLE,
    OwnedLink,
    borrowed,
    open_link,
    open_session,
)
from drivebay._core.links import Link
from drivebay._core.manager import PluginManager, PluginStatus, drivebay_home
from drivebay._core.manifest import PluginMetadata
from drivebay._core.session import keeper_setup

_log = logging.getLogger("drivebay.lending")


def open_on_bench(
    instrument: str,
    *,
    bench: Bench | None = None,
    timeout_s: float = 5.0,
    visa_library: str | None = None,
    baud_rate: int | None = None,
    terminator: str | None = None,
    force: bool = False,
) -> Link:
    """Open an instrument without a driver, under what the bench file says of it.

    An instrument the bench does not name is opened as it is, under no limits. One that it names is
    asked who it is, must be the one that is pinned, and its limits are held by the
    command table of the plugin that serves it. When the link is closed, or this program dies, its
    output goes as the bench's policy says.

    Args:
        instrument: its name on the bench, or its address.
        bench: a loaded bench; default the bench file in force.
        timeout_s: deadline for opening, and the total deadline of every operation that names none.
        visa_library: PyVISA's name of the library to use, by default what the bench says.
        baud_rate: speed of a serial line, by default what the bench says.
        terminator: what ends a command and an answer on a serial line, likewise.
        force: take the instrument over from whoever holds it; it is made safe before.

    Raises:
        BenchError: every problem of the bench file.
        ResourceError: it is neither an address nor a name of the bench.
        LeaseError: somebody else holds it.
        LinkOpenError: nothing answers there.
        IdentityError: another instrument answers than the bench pins.
        NoDriverError: it has limits, and no plugin knows its commands.
        PluginNotFoundError: the bench names a plugin that does not exist.
        ManifestError: that one's manifest is broken.
        UnsafeError: it could not be made safe after an earlier fault.
    """
    named = {"visa_library": visa_library, "baud_rate": baud_rate, "terminator": terminator}
    options: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    bench = bench or bench_in_force()
    entry = None if bench is None else bench.entry_of(instrument)
    if bench is None or entry is None:
        return open_link(instrument, timeout_s=timeout_s, force=force, **options)
    address = entry.resource
    lent = borrowed(address)
    if lent is not None:
        return lent
    opening = {**entry.link_options, "timeout_s": timeout_s, **options}
    session = open_session(address, opening, force=force)
    try:
        link = BenchLink(session)
        session.configure(**_setup(link, bench, entry))
    except BaseException:
        session.close()
        raise
    return link


def bench_in_force() -> Bench | None:
    """The bench of the file that is in force; None without one, and for a driver in its process.

    Raises:
        BenchError: every problem of the bench file.
        OSError: it is missing or may not be read.
    """
    if os.environ.get(GRANT_VARIABLE):  # what was lent is all there is, and its limits hold
        return None
    path = find_bench(drivebay_home())
    return None if path is None else load_bench(path)


class BenchLink(OwnedLink):
    """A link under a bench's limits; closing it leaves the output as the bench's policy says."""

    def close(self) -> None:
        if not self.closed and not self.session.lost:
            self._leave_safe()
        super().close()

    def _leave_safe(self) -> None:
        try:
            if not self.session.status().get("armed"):
                return
            report = self.session.make_safe(planned=True)
        except DrivebayError as exc:
            _log.warning("%s: %s", self.resource, exc)
            return
        if not report.confirmed:
            problems = "; ".join(report.problems)
            _log.error("%s: safe state not confirmed: %s", self.resource, problems)


def _setup(link: Link, bench: Bench, entry: BenchInstrument) -> dict[str, Any]:
    """What the keeper must know: the bench's words, and the command table of a plugin."""
    try:
        idn = link.query("*IDN?").strip()
    except LinkError:
        if entry.plugin is None:
            raise
        idn = ""  # the plugin is named, so one that knows no *IDN? can be opened all the same
    problem = identity_problem(entry.identity, idn)
    if problem is not None:
        text = f"{entry.alias} ({entry.resource}): {problem}"
        raise IdentityError(text, resource=entry.resource, idn=idn)
    metadata = _metadata(entry, idn)
    return keeper_setup(metadata, parse_idn(idn).model if idn else "", bench.setup_of(entry))


def _metadata(entry: BenchInstrument, idn: str) -> PluginMetadata | None:
    plugins = PluginManager()
    try:
        plugins.discover_plugins()
        if entry.plugin is not None:
            return _manifest(plugins, entry.plugin)
        usable = (each.plugin for each in plugins.explain(idn) if each.usable)
        name = next(usable, None)
        if name is not None:
            return _manifest(plugins, name)
    finally:
        plugins.shutdown()
    if entry.limits or entry.channels:
        raise NoDriverError(
            f"{entry.alias} ({entry.resource}) has limits on the bench, and no plugin knows the"
            f" commands of {idn!r}"
        )
    return None


def _manifest(plugins: PluginManager, name: str) -> PluginMetadata:
    """What a plugin says of its instrument; its code is not needed for that, and not loaded."""
    info = plugins.get_plugin_info(name)
    if info is None:
        raise PluginNotFoundError(name, sorted(plugins.plugins))
    if info.status is PluginStatus.ERROR:
        raise ManifestError(info.diagnostics, plugin=info.metadata.name)
    return info.metadata
