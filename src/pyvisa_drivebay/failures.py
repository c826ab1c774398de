"""Errors of Drivebay as the status codes that PyVISA programs know.

What a program may wait out or retry becomes a ``VisaIOError``, with our words as a note on it.
What it must not get past by trying again stays what it is, past every ``except VisaIOError``: a
command beyond a limit (``LimitError``), an instrument that is not safe (``UnsafeError``), a
measurement that somebody stopped (``AbortedError``).
"""

from __future__ import annotations

from typing import Final

from pyvisa.constants import StatusCode

from drivebay import (
    AnswerError,
    DrivebayError,
    LeaseError,
    LinkLostError,
    LinkOpenError,
    LinkTimeoutError,
    ProtocolError,
    ResourceError,
)

_STATUS: Final[dict[type[DrivebayError], StatusCode]] = {
    LinkTimeoutError: StatusCode.error_timeout,
    LinkLostError: StatusCode.error_connection_lost,
    LinkOpenError: StatusCode.error_resource_not_found,
    LeaseError: StatusCode.error_resource_locked,
    ResourceError: StatusCode.error_invalid_resource_name,
    AnswerError: StatusCode.error_io,
    ProtocolError: StatusCode.error_system_error,
}


def status_of(error: DrivebayError, *, opened: bool) -> StatusCode | None:
    """The status code a program is told, None for what stays a Drivebay error.

    Args:
        error: what was raised.
        opened: the channel had been open, so that one which cannot be opened again was lost.
    """
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), None)
    if opened and status is StatusCode.error_resource_not_found:
        return StatusCode.error_connection_lost
    return status
