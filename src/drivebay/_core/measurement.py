"""Stage 5: one call of a method, as a stream of chunks that ends exactly once.

Promises: parameters are validated before the instrument is touched; every chunk is a dictionary of
equally long numpy arrays in SI units; the end is done, aborted (by whom) or failed (why), and after
any end but done the safe state was sent. Whatever a driver raises leaves here as a DrivebayError
with the driver's own traceback. Stores nothing: that is the next stage's work.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from drivebay._core.contract import InstrumentDriver, ScpiDriver
from drivebay._core.errors import (
    AbortedError,
    DrivebayError,
    DriverError,
    MethodError,
)
from drivebay._core.methods import STANDARD, Column, MethodSpec, validate
from drivebay._core.session import Session

if TYPE_CHECKING:
    import numpy as np

    Chunk = dict[str, np.ndarray[Any, Any]]

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
        self.spec = method_spec(session.driver, method, session.metadata.name)
        self.parameters, self._params = _checked(session.driver, self.spec, params)
        self.columns: tuple[Column, ...] | None = self.spec.columns
        self.state: EndState | None = None
        self.reason: str | None = None
        self.values: dict[str, Any] = {}
        self.duration_s = 0.0
        self._aborted_by = ""

    def abort(self, by: str = "user") -> None:
        """Stop it, from any thread; returns without waiting for the end."""
        self._aborted_by = by
        self.session.abort()

    def chunks(self) -> Iterator[Chunk]:
        """Measure; yield each chunk as it is taken. Can be run once, with the session claimed.

        Raises:
            AbortedError: somebody stopped it.
            DrivebayError: it failed; the points so far were yielded.
        """
        session = self.session
        started = time.monotonic()
        session.suspect = True
        try:
            yield from self._run()
        except AbortedError as exc:
            exc.by = self._aborted_by or exc.by
            self._end("aborted", exc.by)
            raise
        except DrivebayError as exc:
            self._end("failed", f"{type(exc).__name__}: {exc}")
            raise
        except Exception as exc:
            error = self._driver_error(exc)
            self._end("failed", str(error))
            raise error from exc
        except BaseException as exc:
            # Whoever reads the chunks cannot go on (the disk is full, the program ends).
            self._end("failed", f"not read to the end: {type(exc).__name__}")
            raise
        else:
            session.suspect = False
            self._end("done", None)
        finally:
            self.duration_s = time.monotonic() - started

    def _run(self) -> Iterator[Chunk]:
        driver = self.session.driver
        if isinstance(driver, ScpiDriver):
            yield from driver.stream(self.method, self._params)
            return
        driver.configure(self.method, dict(self._params))
        columns, self.values = split_result(driver.measure(self.method, dict(self._params)))
        if columns:
            yield columns

    def _end(self, state: EndState, reason: str | None) -> None:
        self.state, self.reason = state, reason
        if state != "done":
            self.session.make_safe()

    def _driver_error(self, exc: Exception) -> DriverError:
        name = self.session.metadata.name
        frames = traceback.extract_tb(exc.__traceback__)
        where = f" ({frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno})" if frames else ""
        return DriverError(
            f"{name}.{self.method} raised {type(exc).__name__}: {exc}{where}",
            plugin=name,
            resource=self.session.resource,
            traceback="".join(traceback.format_exception(exc)),
        )


def method_spec(driver: InstrumentDriver, method: str, plugin: str) -> MethodSpec:
    """Return what a driver's method takes and gives.

    Raises:
        MethodError: it has no such method.
    """
    if isinstance(driver, ScpiDriver):
        specs = driver.method_specs()
        if method not in specs:
            raise MethodError(method, specs, subject=plugin)
        return specs[method]
    known = driver.get_capabilities()
    if method not in known:
        raise MethodError(method, known, subject=plugin)
    standard = STANDARD.get(method)
    title = standard.title if standard else method
    # A seed-style driver has its own parameter names, so they go through as they are.
    return MethodSpec(method, title)


def _checked(
    driver: InstrumentDriver, spec: MethodSpec, params: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the parameters as plain data for the record, and as the driver takes them."""
    if not isinstance(driver, ScpiDriver) or spec.parameters is None:
        return dict(params), dict(params)
    import msgspec

    valid = validate(spec, params, driver.ranges)
    plain: dict[str, Any] = msgspec.to_builtins(valid)
    return plain, plain


def split_result(result: Mapping[str, Any]) -> tuple[Chunk, dict[str, Any]]:
    """Split a seed-style result into columns and the rest.

    Columns are the one-dimensional numeric sequences of the most common length above one; anything
    else is a value.

    >>> columns, values = split_result({"v": [0.0, 1.0], "i": [0.0, 2.0], "unit": "A"})
    >>> sorted(columns), values
    (['i', 'v'], {'unit': 'A'})
    """
    import numpy as np

    if not isinstance(result, Mapping):
        raise TypeError(f"measure() returned {type(result).__name__}, expected a dictionary")
    arrays: Chunk = {}
    for key, value in result.items():
        if isinstance(value, list | tuple | np.ndarray) and len(value):
            try:
                array = np.asarray(value)
            except ValueError:
                continue
            if array.ndim == 1 and array.dtype.kind in "fiub":
                arrays[str(key)] = array
    lengths = [len(array) for array in arrays.values()]
    length = max(set(lengths), key=lambda n: (lengths.count(n), n), default=0)
    columns = {key: array for key, array in arrays.items() if len(array) == length}
    values = {str(key): value for key, value in result.items() if str(key) not in columns}
    return columns, values
