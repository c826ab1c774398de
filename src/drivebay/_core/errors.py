"""Every error Drivebay raises, and nothing else.

One class per remedy: catch a class when you can do something about it, the root when you cannot.
In brackets: the built-in class it is as well.
Each error carries its facts as attributes; ``str()`` says subject, value, expectation and what
exists.

    DrivebayError
    + PluginError                   a plugin cannot be used
    |  - ManifestError              fix plugin.yaml (every problem is in .diagnostics) (ValueError)
    |  - PluginNotFoundError        name one that exists (.known) (ValueError)
    |  - PluginStateError           load, enable or repair it first (RuntimeError)
    |  - IncompatiblePluginError    change the platform or the plugin's version (RuntimeError)
    |  - MissingDependencyError     install what it needs (.missing) (RuntimeError)
    |  - LoadError                  fix the driver's code (.traceback) (RuntimeError)
    |  - ConfigError                fix the config= passed (.problems) (ValueError)
    |  - DriverError                the driver's own code raised (.traceback) (RuntimeError)
    |     - DriverCrashedError      its process ended: mend the driver, open again (.signal)
    |     - DriverHungError         it did not go on and was ended (.waited_s)
    + BenchError                    fix bench.yaml (every problem is in .diagnostics) (ValueError)
    + NoDriverError                 install or write a plugin for it (LookupError)
    + MethodError                   ask for a method that exists (.known) (ValueError)
    + ParameterError                fix the measurement's parameters (.problems) (ValueError)
    + ResourceError                 fix the address (ValueError)
    + LinkError                     the channel to the instrument
    |  - LinkOpenError              switch on, plug in, or free the instrument (ConnectionError)
    |  - LinkTimeoutError           wait longer or look at the instrument (TimeoutError)
    |  - LinkLostError              open again (ConnectionError)
    |  - AnswerError                the instrument answered something unreadable (ValueError)
    + IdentityError                 put the right instrument back, or change the pin (RuntimeError)
    + LeaseError                    wait for the holder, or take over (.holder) (RuntimeError)
    + UnsafeError                   look at the instrument, then acknowledge (RuntimeError)
    + ProtocolError                 run one version of Drivebay in every process (RuntimeError)
    + LimitError                    stay within the limits, or change them (.source) (ValueError)
    + BusyError                     wait for the running measurement, or abort it (RuntimeError)
    + InstrumentError               the instrument refused (.entries of its queue) (RuntimeError)
    + AbortedError                  nothing: somebody asked for it (.by) (RuntimeError)
    + RunError                      the measurement record
       - ForeignCodeError           look at the code in the run, then trust it (.plugin, .sha256)
       - RunNotFoundError           name one that exists (LookupError)
       - StoreError                 make room, or open a file this version can read (OSError)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One thing that is wrong (or odd) and where.

    Attributes:
        code: stable short code such as ``M003``; the list is in docs/reference/diagnostics.md.
        message: subject, value, expectation; lower case, no full stop.
        path: file it was found in, empty when it was not a file.
        line: 1-based line, 0 when unknown.
        column: 1-based column, 0 when unknown.
        severity: ``error`` keeps the plugin from being used, ``warning`` does not.
    """

    code: str
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    severity: str = "error"

    def __str__(self) -> str:
        where = self.path
        if self.line:
            where += f":{self.line}:{self.column}" if self.column else f":{self.line}"
        return f"{where}: {self.code} {self.message}" if where else f"{self.code} {self.message}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, or an empty string.

    >>> nearest("complience_a", ["compliance_a", "points"])
    "; did you mean 'compliance_a'?"
    """
    hits = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {hits[0]!r}?" if hits else ""


class DrivebayError(Exception):
    """Root of everything Drivebay raises on purpose.

    Attributes:
        run_id: the run that holds the points measured before the error, None outside a measurement.
    """

    run_id: str | None = None


class PluginError(DrivebayError):
    """A plugin cannot be used; the subclass says what to do about it."""

    def __init__(self, message: str, *, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


class ManifestError(PluginError, ValueError):
    """A ``plugin.yaml`` (or a ``@driver_plugin`` call) breaks the rules; all problems at once."""

    def __init__(self, diagnostics: Sequence[Diagnostic], *, plugin: str = "") -> None:
        super().__init__("\n".join(str(d) for d in diagnostics), plugin=plugin)
        self.diagnostics = tuple(diagnostics)


class PluginNotFoundError(PluginError, ValueError):
    """No plugin has that name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.known = tuple(known)
        names = ", ".join(self.known) or "none"
        super().__init__(
            f"Plugin {name!r} not found{nearest(name, self.known)} (known: {names})", plugin=name
        )


class PluginStateError(PluginError, RuntimeError):
    """The plugin exists but is not in a state in which this can be done."""

    def __init__(self, message: str, *, plugin: str, status: str) -> None:
        super().__init__(message, plugin=plugin)
        self.status = status


class IncompatiblePluginError(PluginError, RuntimeError):
    """The plugin needs another version of the platform or of Python."""


class MissingDependencyError(PluginError, RuntimeError):
    """Distributions or plugins that this plugin needs are missing or too old."""

    def __init__(self, message: str, *, plugin: str, missing: Sequence[str]) -> None:
        super().__init__(message, plugin=plugin)
        self.missing = tuple(missing)


class LoadError(PluginError, RuntimeError):
    """The driver's code could not be imported or is not a driver.

    Attributes:
        traceback: the whole traceback as text, empty when no plugin code was running.
    """

    def __init__(self, message: str, *, plugin: str, traceback: str = "") -> None:
        super().__init__(message, plugin=plugin)
        self.traceback = traceback


class ConfigError(PluginError, ValueError):
    """The configuration does not fit the plugin's ``config_schema``; all problems at once."""

    def __init__(self, problems: Sequence[str], *, plugin: str) -> None:
        super().__init__(f"config for {plugin}: " + "; ".join(problems), plugin=plugin)
        self.problems = tuple(problems)


class DriverError(PluginError, RuntimeError):
    """The driver's own code raised; its exception is ``__cause__``.

    Attributes:
        traceback: the driver's traceback as text.
        resource: the instrument it was working on.
    """

    def __init__(
        self, message: str, *, plugin: str, resource: str = "", traceback: str = ""
    ) -> None:
        super().__init__(message, plugin=plugin)
        self.resource = resource
        self.traceback = traceback


class DriverCrashedError(DriverError):
    """The process a driver ran in ended without being asked to.

    Attributes:
        version: version of the plugin.
        method: what the driver was doing, such as ``iv_sweep`` or ``connect``.
        signal: name of the signal that ended it (``SIGSEGV``), empty when it exited by itself.
        exit_code: its exit code, None when a signal ended it.
        limit: the limit it went past (``memory``, ``files``), empty when none.
    """

    def __init__(
        self,
        message: str,
        *,
        plugin: str,
        resource: str = "",
        traceback: str = "",
        version: str = "",
        method: str = "",
        signal: str = "",
        exit_code: int | None = None,
        limit: str = "",
    ) -> None:
        super().__init__(message, plugin=plugin, resource=resource, traceback=traceback)
        self.version = version
        self.method = method
        self.signal = signal
        self.exit_code = exit_code
        self.limit = limit


class DriverHungError(DriverError):
    """A driver neither answered nor went on, and its process was ended.

    Attributes:
        version: version of the plugin.
        method: what the driver was doing.
        waited_s: how long it had been waited for.
    """

    def __init__(
        self,
        message: str,
        *,
        plugin: str,
        resource: str = "",
        traceback: str = "",
        version: str = "",
        method: str = "",
        waited_s: float = 0.0,
    ) -> None:
        super().__init__(message, plugin=plugin, resource=resource, traceback=traceback)
        self.version = version
        self.method = method
        self.waited_s = waited_s


class BenchError(DrivebayError, ValueError):
    """A ``bench.yaml`` breaks the rules; all problems at once.

    Attributes:
        diagnostics: one :class:`Diagnostic` each, in the order of the file.
        path: the file.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], *, path: str = "") -> None:
        super().__init__("\n".join(str(each) for each in diagnostics))
        self.diagnostics = tuple(diagnostics)
        self.path = path


class NoDriverError(DrivebayError, LookupError):
    """No usable plugin serves this instrument or method."""


class MethodError(DrivebayError, ValueError):
    """The instrument's driver has no such method."""

    def __init__(self, method: str, known: Iterable[str], *, subject: str = "") -> None:
        self.method = method
        self.known = tuple(known)
        who = f"{subject} has no method" if subject else "no method"
        names = ", ".join(self.known) or "none"
        super().__init__(f"{who} {method!r}{nearest(method, self.known)} (has: {names})")


class ParameterError(DrivebayError, ValueError):
    """Parameters of a measurement do not fit; all problems at once.

    Attributes:
        problems: one :class:`Diagnostic` each; ``path`` is a JSON pointer such as ``/start_v``.
    """

    def __init__(self, problems: Sequence[Diagnostic], *, method: str = "") -> None:
        head = f"{method}: " if method else ""
        super().__init__(head + "; ".join(str(p) for p in problems))
        self.problems = tuple(problems)
        self.method = method


class ResourceError(DrivebayError, ValueError):
    """An instrument address is not one Drivebay opens."""

    def __init__(self, resource: str, problem: Diagnostic) -> None:
        super().__init__(str(problem))
        self.resource = resource
        self.problem = problem


class LinkError(DrivebayError):
    """The channel to the instrument; the subclass says what happened to it."""

    def __init__(self, message: str, *, resource: str = "", command: str = "") -> None:
        super().__init__(message)
        self.resource = resource
        self.command = command


class LinkOpenError(LinkError, ConnectionError):
    """Nothing answers at the address, or it is held by someone else."""


class LinkTimeoutError(LinkError, TimeoutError):
    """The instrument did not answer (or did not take the command) before the deadline."""


class LinkLostError(LinkError, ConnectionError):
    """The channel broke while it was in use."""


class AnswerError(LinkError, ValueError):
    """The instrument's answer cannot be read as what was asked for.

    Attributes:
        raw: the first 256 bytes of the answer.
    """

    def __init__(
        self, message: str, *, resource: str = "", command: str = "", raw: bytes = b""
    ) -> None:
        super().__init__(message, resource=resource, command=command)
        self.raw = bytes(raw[:256])


class IdentityError(DrivebayError, RuntimeError):
    """Another instrument answers than the bench file pins; nothing but ``*IDN?`` was sent to it.

    Attributes:
        resource: canonical address.
        idn: what it answered, empty when it did not.
    """

    def __init__(self, message: str, *, resource: str = "", idn: str = "") -> None:
        super().__init__(message)
        self.resource = resource
        self.idn = idn


class LeaseError(DrivebayError, RuntimeError):
    """Somebody else has the right to command this instrument, or the right was lost.

    Attributes:
        resource: canonical address.
        holder: who has it, as plain data: ``user``, ``host``, ``pid``, ``program``, ``since``.
    """

    def __init__(
        self, message: str, *, resource: str = "", holder: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.holder = dict(holder or {})


class UnsafeError(DrivebayError, RuntimeError):
    """An instrument could not be shown to be safe; nothing is done with it until a person looked.

    Attributes:
        resource: canonical address.
        problems: what failed when it was made safe.
    """

    def __init__(self, message: str, *, resource: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.resource = resource
        self.problems = tuple(problems)


class ProtocolError(DrivebayError, RuntimeError):
    """A process of ours sent what this one does not understand."""


class LimitError(DrivebayError, ValueError):
    """A command was refused before it was sent: it could lead beyond a limit.

    Attributes:
        resource: the instrument it was for.
        command: the command that was refused, not the whole message.
        quantity: what is limited, such as ``voltage_v``; empty where it is not about one.
        value: what would have been set, in SI units; None where that cannot be known.
        limit: ``(lowest, highest)`` in SI units; None where it is not about a value.
        source: where the limit stands, such as a file.
        code: stable short code such as ``L001``; the list is in docs/reference/diagnostics.md.
    """

    def __init__(
        self,
        message: str,
        *,
        resource: str = "",
        command: str = "",
        quantity: str = "",
        value: float | None = None,
        limit: tuple[float, float] | None = None,
        source: str = "",
        code: str = "",
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.command = command
        self.quantity = quantity
        self.value = value
        self.limit = limit
        self.source = source
        self.code = code


class BusyError(DrivebayError, RuntimeError):
    """The instrument is in the middle of a measurement."""


class InstrumentError(DrivebayError, RuntimeError):
    """The instrument put errors into its queue.

    Attributes:
        entries: ``(code, text)`` pairs in the order the instrument gave them.
    """

    def __init__(
        self, message: str, *, resource: str = "", entries: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.entries = tuple(entries)


class AbortedError(DrivebayError, RuntimeError):
    """A measurement was stopped because somebody asked for it."""

    def __init__(self, message: str = "measurement aborted", *, by: str = "user") -> None:
        super().__init__(message)
        self.by = by


class RunError(DrivebayError):
    """The record of a measurement."""


class ForeignCodeError(RunError):
    """A run holds code that nobody here has, and nobody said that it may run."""

    def __init__(self, message: str, *, plugin: str = "", sha256: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin
        self.sha256 = sha256


class RunNotFoundError(RunError, LookupError):
    """No run has that id."""


class StoreError(RunError, OSError):
    """The run store cannot be read or written: full, read-only, corrupt, or of a newer version."""
