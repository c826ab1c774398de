"""One PyVISA session: bytes written become commands, answers become bytes to be read.

Promises: a command goes out whole or not at all, and alone, so that the keeper can judge it; an
answer is handed out in the pieces that were asked for, with VISA's status; bytes left over from an
answer are never taken for the next one's. A read that met its deadline may be repeated.
"""

from __future__ import annotations

from typing import Any, Final

from pyvisa import constants, rname
from pyvisa.constants import (
    AccessModes,
    BufferOperation,
    Lock,
    ResourceAttribute,
    SerialTermination,
    StatusCode,
)

from pyvisa_drivebay.attributes import Attributes, is_serial
from pyvisa_drivebay.channel import Channel
from pyvisa_drivebay.commands import cut_commands

MAX_UNENDED: Final = 16 << 20
"""Bytes that may be written before a line end comes."""

_FOREVER_S: Final = 86_400.0
_AT_ONCE_S: Final = 0.001
_DISCARDS: Final = (
    BufferOperation.discard_read_buffer
    | BufferOperation.discard_read_buffer_no_io
    | BufferOperation.discard_receive_buffer
    | BufferOperation.discard_receive_buffer2
)
_FORGETS: Final = BufferOperation.discard_write_buffer | BufferOperation.discard_transmit_buffer


class Session:
    """A program's session on a channel.

    Args:
        channel: the instrument, open.
        name: its address, taken apart.
        manager: handle of the resource manager.
    """

    def __init__(self, channel: Channel, name: rname.ResourceName, manager: int) -> None:
        self.channel = channel
        self.attributes = Attributes(name, manager)
        self._serial = is_serial(name)
        self._unended = b""  # written, and no line end yet
        self._answer = b""  # read from the link, not yet by the program
        self._ended = True  # the answer ends with these bytes

    # -- what the attributes say -------------------------------------------------------------------

    @property
    def timeout_s(self) -> float:
        """The deadline of an operation."""
        milliseconds = int(self.attributes[ResourceAttribute.timeout_value])
        if milliseconds == constants.VI_TMO_INFINITE:
            return _FOREVER_S
        return min(max(milliseconds / 1000, _AT_ONCE_S), _FOREVER_S)

    @property
    def _stop(self) -> bytes | None:
        """The byte that a read ends at, None where the program set none."""
        enabled = bool(self.attributes[ResourceAttribute.termchar_enabled])
        if self._serial:
            end = self.attributes[ResourceAttribute.asrl_end_in]
            enabled = enabled or end == SerialTermination.termination_char
        return bytes([self.attributes[ResourceAttribute.termchar]]) if enabled else None

    @property
    def _end_of_write(self) -> bytes | None:
        """What ends a command whose line end was left out; None where nothing does.

        A raw socket and a serial line have no END: a command in two writes would execute as two.
        """
        if not self.attributes[ResourceAttribute.send_end_enabled]:
            return None
        if self.channel.link.interface in {"tcpip", "usb", "gpib"}:
            return b""
        end = self._serial and self.attributes[ResourceAttribute.asrl_end_out]
        if end == SerialTermination.termination_char:
            return bytes([self.attributes[ResourceAttribute.termchar]])
        return None

    # -- messages ----------------------------------------------------------------------------------

    def write(self, data: bytes) -> StatusCode:
        """Send the commands that are whole with these bytes. Raises: as ``Link.write``."""
        commands, rest = cut_commands(self._unended + data)
        self._unended = b""  # a command that fails takes what follows it along
        for text, end in commands:
            self._send(text, end)
        end_of_write = self._end_of_write
        if rest and end_of_write is not None:
            self._send(rest, end_of_write)
        elif len(rest) > MAX_UNENDED:
            return StatusCode.error_allocation
        else:
            self._unended = rest
        return StatusCode.success

    def _send(self, text: bytes, end: bytes) -> None:
        if b"?" in text:
            self._answer = b""
        self.channel.link.write(text, end=end, timeout_s=self.timeout_s)

    def read(self, count: int) -> tuple[bytes, StatusCode]:
        """At most so many bytes of an answer. Raises: as ``Link.read_raw``."""
        stop = self._stop
        if not self._answer:
            self._answer, self._ended = self.channel.link.read_raw(
                at_most=max(1, count), stop=stop, timeout_s=self.timeout_s
            )
        piece = self._answer[:count]
        at = piece.find(stop) if stop is not None else -1
        if at >= 0:
            piece = piece[: at + 1]
        self._answer = self._answer[len(piece) :]
        if at >= 0:
            return piece, StatusCode.success_termination_character_read
        if self._answer or not self._ended:
            return piece, StatusCode.success_max_count_read
        return piece, StatusCode.success

    def clear(self) -> None:
        """Forget what was written and asked; a device clear where there is one."""
        self._unended = self._answer = b""
        self.channel.link.interrupt()

    def flush(self, mask: int) -> None:
        """Forget what the mask names; nothing waits here to be sent."""
        if mask & _FORGETS:
            self._unended = b""
        if mask & _DISCARDS:
            self._answer = b""
            if self._end_of_write is None:  # it has no device clear, which flushing must not send
                self.channel.link.interrupt()

    def trigger(self) -> None:
        """Send the trigger of IEEE 488.2. Raises: as ``Link.write``."""
        self.channel.link.write("*TRG", timeout_s=self.timeout_s)

    # -- attributes and locks ----------------------------------------------------------------------

    def set_attribute(self, which: int, value: Any) -> StatusCode:
        """Change an attribute. Raises: as ``open_link``, when a serial line changes its speed."""
        if which == ResourceAttribute.asrl_baud_rate and self._serial:
            if value != self.attributes[ResourceAttribute.asrl_baud_rate]:
                self.channel.use_speed(int(value))
            self.attributes[ResourceAttribute.asrl_baud_rate] = value
            return StatusCode.success
        return self.attributes.set(which, value)

    def lock(self, kind: Lock) -> StatusCode:
        """Note a lock: the lease keeps everybody else out already."""
        held = self.attributes[ResourceAttribute.resource_lock_state] != AccessModes.no_lock
        self.attributes[ResourceAttribute.resource_lock_state] = AccessModes(kind)
        return StatusCode.success_nested_exclusive if held else StatusCode.success

    def unlock(self) -> StatusCode:
        """Note that there is no lock."""
        held = self.attributes[ResourceAttribute.resource_lock_state] != AccessModes.no_lock
        self.attributes[ResourceAttribute.resource_lock_state] = AccessModes.no_lock
        return StatusCode.success if held else StatusCode.error_session_not_locked
