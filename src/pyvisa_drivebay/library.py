"""The library object that PyVISA calls: sessions by their handles, and failures as it knows them.

Promises: nothing is sent but through the keeper of this process, or in a driver's own process
through the keeper that lent it the instrument. What the keeper's link cannot do fails with
``VI_ERROR_NSUP_OPER`` and a reason, never silently.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn, TypeVar

from pyvisa import constants, rname
from pyvisa.constants import StatusCode
from pyvisa.errors import VisaIOError
from pyvisa.highlevel import ResourceInfo, VisaLibraryBase
from pyvisa.typing import VISAEventContext, VISAHandler, VISARMSession, VISASession
from pyvisa.util import DebugInfo, LibraryPath

from drivebay import DrivebayError, __version__, bench_in_force
from drivebay.driver import list_resources
from pyvisa_drivebay.channel import OPEN_S, Channels
from pyvisa_drivebay.failures import status_of
from pyvisa_drivebay.session import Session

_T = TypeVar("_T")

_DEFAULT: Final = "keeper"
_NO_EVENTS: Final = "service requests and other events do not pass the keeper; ask *STB? instead"
_NO_POLL: Final = "the keeper has no serial poll; ask *STB? where no answer is waited for"
_NO_BUS: Final = "the keeper lends one instrument, and no lines of its bus"


class DrivebayVisaLibrary(VisaLibraryBase):
    """PyVISA's view of Drivebay.

    What stands before the ``@`` names the library the keeper opens the instrument with:
    ``"ivi@drivebay"``, ``"py@drivebay"``, ``"/usr/lib/libvisa.so@drivebay"``.
    """

    @staticmethod
    def get_library_paths() -> Iterable[LibraryPath]:
        """There is one, and it is no file."""
        return (LibraryPath(_DEFAULT),)

    @staticmethod
    def get_debug_info() -> DebugInfo:
        """What ``pyvisa-info`` shows."""
        return {
            "Version": __version__,
            "Instruments": "opened by Drivebay's keeper, under lease, limits and transcript",
        }

    def _init(self) -> None:
        self._handles = itertools.count(1)
        self._sessions: dict[int, Session] = {}
        self._managers: set[int] = set()
        self._channels = Channels(_library_below(self.library_path))

    # -- sessions ----------------------------------------------------------------------------------

    def open_default_resource_manager(self) -> tuple[VISARMSession, StatusCode]:
        """A handle for a resource manager."""
        handle = VISARMSession(next(self._handles))
        self._managers.add(handle)
        return handle, self.handle_return_value(handle, StatusCode.success)

    def open(
        self,
        session: VISARMSession,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = constants.VI_TMO_IMMEDIATE,
    ) -> tuple[VISASession, StatusCode]:
        """Open an instrument through the keeper.

        Raises:
            VisaIOError: the address is none, nothing answers there, or somebody else holds it.
            UnsafeError: it could not be made safe after an earlier fault.
        """
        try:
            name = rname.ResourceName.from_string(_address_of(resource_name))
        except rname.InvalidResourceName:
            return VISASession(0), self.handle_return_value(
                None, StatusCode.error_invalid_resource_name
            )
        # VISA's timeout is one for a lock; the shortest stands for "no lock is waited for".
        wait_s = open_timeout / 1000 if 0 < open_timeout < constants.VI_TMO_INFINITE else OPEN_S
        try:
            channel = self._channels.take(str(name), wait_s)
        except DrivebayError as exc:
            self._fail(None, exc, opened=False)
        handle = VISASession(next(self._handles))
        found = self._sessions[handle] = Session(channel, name, session)
        if access_mode != constants.AccessModes.no_lock:
            found.lock(constants.Lock(access_mode))
        return handle, self.handle_return_value(handle, StatusCode.success)

    def close(self, session: VISASession | VISAEventContext | VISARMSession) -> StatusCode:
        """Close a session; the last one on an instrument gives it back."""
        if session in self._managers:
            self._managers.discard(session)
            for handle in list(self._sessions):
                self.close(VISASession(handle))
            return self.handle_return_value(None, StatusCode.success)
        found = self._sessions.pop(session, None)
        if found is None:
            return self.handle_return_value(None, StatusCode.error_invalid_object)
        try:
            self._channels.give_back(found.channel)
        except DrivebayError as exc:
            self._fail(None, exc)
        return self.handle_return_value(None, StatusCode.success)

    def list_resources(self, session: VISARMSession, query: str = "?*::INSTR") -> tuple[str, ...]:
        """Addresses of the bench and of this machine's own ports; to a driver the one it was lent.

        The network is not searched: that sends broadcasts. ``drivebay find --network`` does.
        """
        try:
            found = dict.fromkeys(list_resources(network=False))
        except DrivebayError as exc:
            self._fail(session, exc, opened=False)
        bench = bench_in_force()
        if bench is not None:
            found |= dict.fromkeys(each.resource for each in bench.instruments.values())
        return rname.filter(sorted(found), query)

    def parse_resource_extended(
        self, session: VISARMSession, resource_name: str
    ) -> tuple[ResourceInfo, StatusCode]:
        """What an address says, or the address behind a name on the bench."""
        address = _address_of(resource_name)
        info, status = super().parse_resource_extended(session, address)
        if address != resource_name:
            info = info._replace(alias=resource_name)
        return info, status

    # -- messages ----------------------------------------------------------------------------------

    def write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        """Write bytes; commands go out when they are whole.

        Raises:
            VisaIOError: as VISA says.
            LimitError: a command would go past a limit; it was not sent, nor what followed it.
        """
        status = self._do(session, lambda found: found.write(bytes(data)))
        return len(data), self.handle_return_value(session, status)

    def read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        """Read at most so many bytes of an answer. Raises: VisaIOError."""
        piece, status = self._do(session, lambda found: found.read(count))
        return piece, self.handle_return_value(session, status)

    buffer_write = write
    buffer_read = read

    def clear(self, session: VISASession) -> StatusCode:
        """Device clear where there is one; else what was asked before is given up."""
        self._do(session, Session.clear)
        return self.handle_return_value(session, StatusCode.success)

    def flush(self, session: VISASession, mask: constants.BufferOperation) -> StatusCode:
        """Forget what was read or written and not used yet."""
        self._do(session, lambda found: found.flush(int(mask)))
        return self.handle_return_value(session, StatusCode.success)

    def assert_trigger(
        self, session: VISASession, protocol: constants.TriggerProtocol
    ) -> StatusCode:
        """Send ``*TRG``, which means the same as the trigger of a bus."""
        if protocol != constants.TriggerProtocol.default:
            self._refuse(session, "the keeper triggers with *TRG only")
        self._do(session, Session.trigger)
        return self.handle_return_value(session, StatusCode.success)

    # -- attributes and locks ----------------------------------------------------------------------

    def get_attribute(
        self,
        session: VISASession | VISAEventContext | VISARMSession,
        attribute: constants.ResourceAttribute | constants.EventAttribute,
    ) -> tuple[Any, StatusCode]:
        """The value of an attribute. Raises: VisaIOError."""
        value, status = self._do(session, lambda found: found.attributes.get(attribute))
        return value, self.handle_return_value(session, status)

    def set_attribute(
        self,
        session: VISASession,
        attribute: constants.ResourceAttribute,
        attribute_state: Any,
    ) -> StatusCode:
        """Change an attribute. Raises: VisaIOError when the channel does not follow it."""
        status = self._do(session, lambda found: found.set_attribute(attribute, attribute_state))
        return self.handle_return_value(session, status)

    def lock(
        self,
        session: VISASession,
        lock_type: constants.Lock,
        timeout: int,
        requested_key: str | None = None,
    ) -> tuple[str, StatusCode]:
        """Lock a session: the lease is exclusive already, so this always succeeds."""
        status = self._do(session, lambda found: found.lock(lock_type))
        return requested_key or "drivebay", self.handle_return_value(session, status)

    def unlock(self, session: VISASession) -> StatusCode:
        """Unlock a session. Raises: VisaIOError when it was not locked."""
        return self.handle_return_value(session, self._do(session, Session.unlock))

    # -- what does not pass the keeper -------------------------------------------------------------

    def disable_event(
        self,
        session: VISASession,
        event_type: constants.EventType,
        mechanism: constants.EventMechanism,
    ) -> StatusCode:
        """None is enabled."""
        return self.handle_return_value(session, StatusCode.success)

    def discard_events(
        self,
        session: VISASession,
        event_type: constants.EventType,
        mechanism: constants.EventMechanism,
    ) -> StatusCode:
        """None has come."""
        return self.handle_return_value(session, StatusCode.success)

    def enable_event(
        self,
        session: VISASession,
        event_type: constants.EventType,
        mechanism: constants.EventMechanism,
        context: None = None,
    ) -> StatusCode:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_EVENTS)

    def wait_on_event(
        self, session: VISASession, in_event_type: constants.EventType, timeout: int
    ) -> tuple[constants.EventType, VISAEventContext, StatusCode]:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_EVENTS)

    def install_handler(
        self,
        session: VISASession,
        event_type: constants.EventType,
        handler: VISAHandler,
        user_handle: Any,
    ) -> tuple[VISAHandler, Any, Any, StatusCode]:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_EVENTS)

    def read_stb(self, session: VISASession) -> tuple[int, StatusCode]:
        """Fails: ``*STB?`` in its place would throw away an answer that is on its way."""
        self._refuse(session, _NO_POLL)

    def gpib_command(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_BUS)

    def gpib_control_ren(
        self, session: VISASession, mode: constants.RENLineOperation
    ) -> StatusCode:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_BUS)

    def gpib_send_ifc(self, session: VISASession) -> StatusCode:
        """Fails. Raises: VisaIOError."""
        self._refuse(session, _NO_BUS)

    # -- failures ----------------------------------------------------------------------------------

    def _do(self, session: int, action: Callable[[Session], _T]) -> _T:
        """Do something with a session; a failure becomes what a PyVISA program expects."""
        found = self._sessions.get(session)
        if found is None:
            self._raise(None, StatusCode.error_invalid_object, f"no session {session}")
        try:
            return action(found)
        except DrivebayError as exc:
            self._fail(VISASession(session), exc)

    def _fail(
        self,
        session: VISASession | VISARMSession | None,
        error: DrivebayError,
        *,
        opened: bool = True,
    ) -> NoReturn:
        status = status_of(error, opened=opened)
        if status is None:
            raise error
        self._raise(session, status, str(error), error)

    def _refuse(self, session: VISASession, why: str) -> NoReturn:
        self._raise(session, StatusCode.error_nonsupported_operation, why)

    def _raise(
        self,
        session: VISASession | VISARMSession | None,
        status: StatusCode,
        note: str,
        cause: Exception | None = None,
    ) -> NoReturn:
        self._last_status = status
        if session is not None:
            self._last_status_in_session[session] = status
        failure = VisaIOError(status)
        failure.add_note(note)
        raise failure from cause


def _address_of(name: str) -> str:
    """The address of a name on the bench; any other name as it is."""
    bench = bench_in_force() if "::" not in name else None
    entry = bench.instruments.get(name) if bench is not None else None
    return entry.resource if entry is not None else name


def _library_below(path: str) -> str | None:
    """PyVISA's name of the library named before the ``@``, None when none was."""
    if path in {"", _DEFAULT}:
        return None
    return f"@{path}" if path in {"ivi", "py", "sim"} else str(path)
