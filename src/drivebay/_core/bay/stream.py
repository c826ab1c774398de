"""A measurement as it happens: measured in one thread, recorded in another, read in a third.

Promises: a point is handed out only after it is on disk; whatever the reader does, the measurement
ends and its record says how.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from drivebay._core.bay.handover import Handover
from drivebay._core.errors import DrivebayError, PluginStateError
from drivebay._core.manifest import Secrets, secrets_of
from drivebay._core.measurement import Measurement
from drivebay._core.runs import Recorder, Run, RunDraft, Voice
from drivebay._core.session import Session, nobody

if TYPE_CHECKING:
    from drivebay._core.contract.calling import Chunk

_log = logging.getLogger("drivebay.bay")


class Stream:
    """A measurement as it happens: iterate over it for chunks, then look at :attr:`run`.

    It runs in a thread of its own, and so does the disk: a reader that is slow, or that stops after
    an error of its own, delays neither the record nor the end, at which the output goes off; and
    the instrument takes the next points while the last ones are synced. What a slow reader has not
    read is read back from the run, so it costs no memory.
    """

    def __init__(
        self,
        measurement: Measurement,
        draft: Callable[[Measurement], RunDraft],
        went_well: Callable[[], None],
    ) -> None:
        """A stream that has not begun.

        Args:
            measurement: what to run.
            draft: makes its record.
            went_well: called when it ended as done.
        """
        self._measurement = measurement
        self._draft = draft
        self._went_well = went_well
        self._recorder: Recorder | None = None
        self._error: BaseException | None = None
        self._chunks = Handover(lambda: self.run)
        self._thread: threading.Thread | None = None
        self._iterator: Iterator[Chunk] | None = None
        self._secrets: dict[str, Secrets] = {}

    @property
    def parameters(self) -> dict[str, Any]:
        """The validated parameters, defaults filled in."""
        return self._measurement.parameters

    @property
    def run(self) -> Run:
        """The record; complete once the stream is exhausted.

        Raises:
            PluginStateError: the measurement has not begun.
            StoreError: it could not be made.
        """
        if self._recorder is None:
            raise PluginStateError("the measurement has not begun", plugin="", status="waiting")
        return self._recorder.run

    def abort(self, by: str = "user") -> None:
        """Stop the measurement, from any thread."""
        self._measurement.abort(by)

    def __iter__(self) -> Iterator[Chunk]:
        """Begin to measure, if that has not happened, and give the chunks.

        Raises:
            BusyError: another measurement is running on the instrument.
            StoreError: the run cannot be recorded; nothing was sent.
            DrivebayError: it failed or was aborted; ``run_id`` names the run with the points.
        """
        if self._iterator is None:
            self._start()
            self._iterator = self._given()
        return self._iterator

    def _start(self) -> None:
        # Arrays need it. Imported with the first chunk it would keep the first 0.3 s of a program's
        # points off the disk, with the instrument already measuring.
        importlib.import_module("numpy")
        session = self._measurement.session
        session.claim()
        try:
            # On disk first: a point that was shown is a point that is kept.
            draft = self._draft(self._measurement)
            parts = self._measurement.parts
            self._secrets = {
                name: secrets_of(each.metadata, each.seat.config) for name, each in parts.items()
            }
            began_ns = draft.shape.started_ns
            taps = {name: _Tap(parts[name], began_ns, self._secrets[name]) for name in parts}
            recorder = Recorder(
                draft,
                kept=self._chunks.put,
                failed=self._not_kept,
                voices={name: Voice(tap.taken, tap.connected()) for name, tap in taps.items()},
            )
            self._recorder = recorder
            session.listener = lambda kind, data: recorder.note(kind, self._masked(data))
            self._thread = threading.Thread(
                target=self._record, args=(recorder,), name=f"drivebay-{self._measurement.method}"
            )
            self._thread.start()
        except BaseException:
            session.listener = nobody
            if self._recorder is not None:
                self._recorder.finish("failed", "the measurement could not be started", {})
            session.release()
            raise

    def _given(self) -> Iterator[Chunk]:
        thread = self._thread
        assert thread is not None  # noqa: S101 - _start made it
        try:
            yield from self._chunks.chunks()
        except KeyboardInterrupt:
            self._stop("keyboard")
            raise
        except GeneratorExit:
            self._stop("the reader stopped reading")
            raise
        except DrivebayError as exc:  # a chunk that is kept cannot be read back
            self._not_kept(exc)
            raise
        finally:
            thread.join()
        if self._error is not None:
            raise self._error

    def _record(self, recorder: Recorder) -> None:
        """Task root of the measuring thread: every end becomes a value that the reader raises."""
        measurement = self._measurement
        chunks = measurement.chunks()
        try:
            try:
                with contextlib.closing(chunks):  # type: ignore[type-var]  # it is a generator
                    for chunk in chunks:
                        recorder.put(chunk)
            finally:
                state = measurement.state or "failed"
                if state == "done":
                    self._went_well()
                measurement.session.listener = nobody
                recorder.finish(state, self._masked(measurement.reason), measurement.values)
        except BaseException as exc:  # noqa: BLE001 - task root
            if isinstance(exc, DrivebayError):
                exc.run_id = recorder.run_id
            self._error = exc
        finally:
            try:
                measurement.session.release()
            finally:
                self._chunks.end()

    def _masked(self, data: Any) -> Any:
        """Data for the record, without what is secret of any of the drivers."""
        for secrets in self._secrets.values():
            data = secrets.masked_data(data)
        return data

    def _not_kept(self, error: BaseException) -> None:
        """Stop measuring what cannot be kept, without waiting for the next chunk."""
        self._stop(f"the run store ({error})")

    def _stop(self, by: str) -> None:
        """Abort because of something that must not be hidden by an error of the driver's abort."""
        try:
            self.abort(by)
        except Exception:  # noqa: BLE001 - border: a driver's abort()
            _log.exception("%s: abort by %s", self._measurement.session.resource, by)


class _Tap:
    """What goes to and from an instrument while one measurement runs.

    Secret options of its driver are masked in what is sent (``manifest.secrets``).

    It begins where the last record ended, which costs no question to the keeper at the start; what
    passed between the two, by hand, came before the run began and is no part of it.
    """

    def __init__(self, session: Session, began_ns: int, secrets: Secrets) -> None:
        self._session = session
        self._began_ns = began_ns
        self._hears = False  # something of this run was heard
        self._secrets = secrets

    def connected(self) -> Sequence[tuple[int, str, bytes]]:
        """What was said when the driver connected."""
        return self._masked(self._session.seat.talk)

    def taken(self) -> tuple[Sequence[tuple[int, str, bytes]], int]:
        """What came since the last call, and how many messages of this run may be missing."""
        session = self._session
        heard, missed, session.unrecorded = session.link.traffic(session.unrecorded)
        if missed and not self._hears and heard and heard[0][0] < self._began_ns:
            missed = 0  # they were earlier still
        self._hears = self._hears or bool(heard and heard[-1][0] >= self._began_ns)
        return self._masked(heard), missed

    def _masked(self, heard: Sequence[tuple[int, str, bytes]]) -> Sequence[tuple[int, str, bytes]]:
        if not self._secrets.in_traffic:
            return heard
        masked = self._secrets.masked
        return [(at, way, masked(data) if way == "w" else data) for at, way, data in heard]
