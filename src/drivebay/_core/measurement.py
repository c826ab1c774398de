"""Stage 5: one call of a method, as a stream of chunks that ends exactly once.

Promises: parameters are validated before the instrument is touched; every chunk is a dictionary of
equally long numpy arrays in SI units; the end is done, aborted (by whom) or failed (why), and after
any end but done the safe state was sent. Whatever a driver raises leaves here as a DrivebayError
with the driver's own traceback. Stores nothing: that is the next stage's work.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, Literal

from msgspec.structs import replace

from drivebay._core.contract.calling import Chunk
from drivebay._core.contract.readout import check_chunk
from drivebay._core.errors import (
    AbortedError,
    DrivebayError,
    DriverCrashedError,
    DriverHungError,
)
from drivebay._core.manifest import PluginMetadata, check_parameters
from drivebay._core.methods import Column, MethodSpec
from drivebay._core.session import Session

EndState = Literal["done", "aborted", "failed"]


class Measurement:
    """One measurement, ready to run.

    Args:
        session: the opened instrument.
        method: name of the method.
        params: its parameters, as a user gave them.

    Attributes:
        parameters: the validated parameters as plain data, with defaults filled in.
        columns: declared columns; None when the driver decides.
        state: None until it has ended.
        reason: why it failed or who aborted it.
        values: whatever else than columns a seed-style driver returned.

    Raises:
        MethodError: the driver has no such method.
        ParameterError: every problem with the parameters.
    """

    def __init__(self, session: Session, method: str, params: Mapping[str, Any]) -> None:
        self.session = session
        self.method = method
        self._declared: tuple[Column, ...] | None = None
        try:
            self.spec, self.parameters = self._checked(params)
        except DriverCrashedError:
            # Most likely it died while it had nothing to do, and nobody had noticed yet. Nothing
            # was sent to the instrument, so a driver started anew is asked, once.
            self.spec, self.parameters = self._checked(params)
        self.columns: tuple[Column, ...] | None = self.spec.columns
        self.state: EndState | None = None
        self.reason: str | None = None
        self.values: dict[str, Any] = {}
        self.duration_s = 0.0
        self._asked_by = ""
        self._begun = False

    def _checked(self, params: Mapping[str, Any]) -> tuple[MethodSpec, dict[str, Any]]:
        seat, metadata = self.session.ready(), self.session.metadata
        spec = seat.spec(self.method)
        plain = seat.validate(self.method, params)
        # What the driver leaves open the manifest may say: a driver of the original contract can
        # declare what its methods take and give nowhere else.
        self._declared = None if spec.columns is not None else _columns(metadata, self.method)
        if self._declared is not None:
            spec = replace(spec, columns=self._declared)
        return spec, check_parameters(metadata, self.method, plain)

    @property
    def parts(self) -> dict[str, Session]:
        """The sessions it is made of, by what each is called in its record; one needs no name."""
        return {"": self.session}

    def abort(self, by: str = "user") -> None:
        """Stop it, from any thread; returns without waiting for the end.

        One that has not begun will stop at once when it does; one that has ended is left alone,
        and so is whatever measures on the instrument now.
        """
        self._asked_by = by
        if self._begun and self.state is None:
            self.session.abort(by)

    @property
    def _aborted_by(self) -> str:
        return self._asked_by or self.session.aborted_by

    def _check_abort(self) -> None:
        """Stop here if that was asked for, and the driver had not begun when it was told."""
        if self._aborted_by:
            raise AbortedError(by=self._aborted_by)

    def chunks(self) -> Iterator[Chunk]:
        """Measure; yield each chunk as it is taken. Can be run once, with the session claimed.

        Raises:
            AbortedError: somebody stopped it.
            DrivebayError: it failed; the points so far were yielded.
        """
        session = self.session
        started = time.monotonic()
        self._begun = True
        try:
            session.begin()
            self._check_abort()
            stream = self._points()
            with closing(stream):
                for chunk in stream:
                    yield chunk if self._declared is None else self._as_declared(chunk)
                    self._check_abort()
        except AbortedError as exc:
            exc.by = self._aborted_by or exc.by
            self._end("aborted", exc.by)
            raise
        except DrivebayError as exc:
            by = self._aborted_by
            if by and not isinstance(exc, DriverCrashedError | DriverHungError):
                # The instrument is stopped before the driver hears of it, which may meet half an
                # answer first.
                self._end("aborted", by)
                raise AbortedError(by=by) from exc
            self._end("failed", f"{type(exc).__name__}: {exc}")
            raise
        except BaseException as exc:
            # Whoever reads the chunks cannot go on (the disk is full, the program ends).
            self._end("failed", f"not read to the end: {type(exc).__name__}")
            raise
        else:
            session.suspect = False
            self._end("done", None)
        finally:
            self.duration_s = time.monotonic() - started

    def _points(self) -> Generator[Chunk]:
        """What is measured, chunk by chunk."""
        return self.session.ready().stream(self.method, self.parameters, self.values)

    def _as_declared(self, chunk: Chunk) -> Chunk:
        return check_chunk(self.spec, chunk, self.session.metadata.name)

    def _end(self, state: EndState, reason: str | None) -> None:
        self.state, self.reason = state, reason
        if state != "done":
            self.session.make_safe()


def _columns(metadata: PluginMetadata, method: str) -> tuple[Column, ...] | None:
    """The columns that a manifest declares for a method; None where it does not."""
    declared = (metadata.methods.get(method) or {}).get("columns")
    if declared is None:
        return None
    return tuple(
        Column(**{key: value for key, value in each.items() if value is not None})
        for each in declared
    )
