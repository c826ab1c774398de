"""A simulated Keithley 2600B: a program runs on it, line by line, on one thread.

Promises: messages are executed in the order they came, one at a time; ``abort`` ends the one that
is being executed, at once, and nothing else overtakes; errors come with the manual's numbers. Never
energises anything: it is a simulation.

From the Series 2600B Reference Manual, 2600BS-901-01 Rev. F: the TSP command reference (section 9),
the error queue and the status model (section 12), common commands. What ``abort`` does to a program
is known from ``tspnet.tsp.abort()``: it ends what was sent.
"""

from __future__ import annotations

import math
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from drivebay.sim.circuit import Port
from drivebay.sim.devices import Device, Diode
from drivebay.sim.eventlog import EventLog
from drivebay.sim.instrument import Client, ScpiInstrument
from drivebay.sim.keithley2600.channel import Channel
from drivebay.sim.keithley2600.interpreter import (
    Interpreter,
    LuaError,
    Table,
    kind_of,
)
from drivebay.sim.keithley2600.models import MODELS
from drivebay.sim.keithley2600.syntax import LuaSyntaxError
from drivebay.sim.keithley2600.tables import (
    TEXTS,
    Attributes,
    Buffer,
    BufferColumn,
    number,
    one_of,
)
from drivebay.sim.parameters import doubles, singles
from drivebay.sim.source import port_of
from drivebay.sim.syntax import CommandTree
from drivebay.sim.triggering import Clock

if TYPE_CHECKING:
    from drivebay.sim.registry import Options

FIRMWARE = "3.2.2"
_ASCII, _REAL32, _REAL64 = 1.0, 2.0, 3.0
_LITTLE_ENDIAN = 1.0
_MOST_ERRORS = 100
_INSTRUMENT = 1 << 13
_BEGINS = ("loadandrunscript", "loadscript")


class _AbortedScript(Exception):  # noqa: N818 - somebody asked for it
    pass


class Keithley2600(ScpiInstrument):
    """The simulated instrument; a server puts it on a socket.

    Attributes:
        model: what this member of the family can do.
        channels: by name, ``a`` and on most models ``b``.
        line_frequency_hz: 50 or 60.
    """

    def __init__(
        self,
        model: str = "2602B",
        devices: Mapping[str, Device | Port] | None = None,
        *,
        time_scale: float = 1.0,
        line_frequency_hz: float = 50.0,
        seed: int = 2600,
        noise: float = 1.0,
        serial_number: str = "1234567",
        interlock_closed: bool = True,
        log: EventLog | None = None,
    ) -> None:
        """One that was just switched on.

        Args:
            model: "2601B" to "2636B", or a 2600A with the same limits.
            devices: what is connected to channels ``a`` and ``b``; diodes if not given.
            time_scale: real seconds that a simulated second takes; 0 for benchmarks.
            line_frequency_hz: 50 or 60.
            seed: of the noise.
            noise: a factor on the noise; 0 for none.
            serial_number: for ``*IDN?``.
            interlock_closed: whether 200 V ranges may be used.
            log: where to record events.

        Raises:
            ValueError: an unknown model, or a number outside its range.
        """
        if model not in MODELS:
            raise ValueError(f"no model {model!r}; models: {', '.join(MODELS)}")
        if not (math.isfinite(time_scale) and time_scale >= 0):
            raise ValueError(f"time_scale must be finite and >= 0, got {time_scale!r}")
        super().__init__(CommandTree(()), log or EventLog(), True)
        self.model = MODELS[model]
        self.identity = f"Keithley Instruments Inc., Model {model}, {serial_number}, {FIRMWARE}"
        self.serial_number = serial_number
        self.line_frequency_hz = line_frequency_hz
        self.clock = Clock(time_scale)
        self.channels: dict[str, Channel] = {}
        self._errors: deque[tuple[int, str]] = deque()
        self._work: deque[tuple[Client, str]] = deque()
        self._woken = threading.Condition(self.lock)
        self._abort = self._closed = self._running = False
        self._client: Client | None = None
        self._script: list[str] | None = None
        for place, name in enumerate("ab"[: self.model.channels]):
            port = port_of((devices or {}).get(name), Diode())
            channel = Channel(name, self, port, seed=seed + place, noise=noise)
            channel.source.interlock.closed = interlock_closed
            self.channels[name] = channel
        self._format = Attributes("format", self.refuse)
        self._interpreter = Interpreter(self._names(), self._checkpoint)
        self._reset_format()
        self._thread = threading.Thread(target=self._work_on, name="sim-2600", daemon=True)
        self._thread.start()

    # -- what a server uses -----------------------------------------------------------------------

    def receive(self, client: Client, message: str) -> None:
        """Takes one line; it is executed on the instrument's own thread."""
        if self.log.traffic:
            self.log.add("message", client=client.name, text=message)
        with self._woken:
            self.counters["messages"] += 1
            if message.strip() == "abort":
                # What has arrived and was not begun yet is the next to be ended.
                self._abort = self._running or bool(self._work)
                for channel in self.channels.values():
                    channel.abort()
            else:
                self._work.append((client, message))
            self._woken.notify_all()

    def device_clear(self) -> None:
        """What DCL or SDC does: nothing is left to execute, the running program ends."""
        with self._woken:
            self.log.add("device_clear")
            self._work.clear()
            self._script = None
            self._abort = self._running
            self._woken.notify_all()

    @property
    def busy(self) -> bool:
        """Whether a program or a sweep runs."""
        return self._running or any(each.sweep for each in self.channels.values())

    @property
    def output_on(self) -> bool:
        """Whether any output is on."""
        return any(each.source.output_on for each in self.channels.values())

    def close(self) -> None:
        """Ends the instrument's thread."""
        with self._woken:
            self._closed = self._abort = True
            self._woken.notify_all()
        self._thread.join()

    # -- what a channel uses ----------------------------------------------------------------------

    def refuse(self, number: int) -> None:
        """Queues an error of the error summary list."""
        self._queue(number, TEXTS.get(number, "Device-specific error"))

    def overrun(self) -> None:
        """A line was too long and is lost."""
        self.refuse(-363)

    def now_s(self) -> float:
        """Simulated seconds since the start."""
        return self.clock.now_s()

    def wait_until(self, due_s: float) -> None:
        """Lets simulated time pass; an abort ends it.

        Raises:
            _AbortedScript: somebody sent ``abort``.
        """
        while True:
            self._checkpoint()
            left_s = due_s - self.now_s()
            if left_s <= 0:
                break
            if not math.isfinite(due_s):
                # Nothing will end it but an abort.
                self._woken.wait()
                continue
            if not self.clock.scale:
                self.clock.set_s(due_s)
                break
            before_s = self.now_s()
            if self.clock.scale == 1.0:
                self._woken.wait(left_s)
            elif not self._woken.wait(left_s * self.clock.scale):
                self.clock.set_s(max(before_s, due_s))
        self._advance()

    # -- the thread -------------------------------------------------------------------------------

    def _work_on(self) -> None:
        while True:
            with self._woken:
                while not self._work and not self._closed:
                    due_s = min(each.due_s() for each in self.channels.values())
                    if math.isfinite(due_s) and not self.clock.scale:
                        self.clock.set_s(max(due_s, self.now_s()))
                    else:
                        left_s = (due_s - self.now_s()) * self.clock.scale
                        self._woken.wait(max(1e-3, min(left_s, 3600.0)))
                    self._advance()
                if self._closed:
                    return
                client, text = self._work.popleft()
                self._client, self._running = client, True
                self._execute_line(text)
                self._running = self._abort = False
            client.flush()

    def _advance(self) -> None:
        now_s = self.now_s()
        for channel in self.channels.values():
            channel.advance(now_s)

    def _checkpoint(self) -> None:
        if self._abort:
            raise _AbortedScript

    def _execute_line(self, text: str) -> None:
        try:
            self._advance()
            self._interpreted(text.strip())
        except _AbortedScript:
            self.log.add("script_aborted")
        except LuaSyntaxError as odd:
            self._queue(-285, f"TSP Syntax error {odd}")
        except (LuaError, TypeError, ValueError) as odd:
            self._queue(-286, f"TSP Runtime error {odd}")
        except Exception:  # noqa: BLE001 - a fault of the simulator is an answer too
            self._queue(-286, "TSP Runtime error")
            self.log.add("internal_error", traceback=traceback.format_exc())

    def _interpreted(self, text: str) -> None:
        words = text.split()
        if self._script is not None:
            if text == "endscript":
                program, self._script = "\n".join(self._script), None
                self._interpreter.run(program)
            else:
                self._script.append(text)
        elif words and words[0] in _BEGINS:
            self._script = []
        elif text.startswith("*"):
            self._common(text)
        else:
            self._interpreter.run(text)

    def _common(self, text: str) -> None:
        """The common commands (reference manual, "Common commands")."""
        answers: dict[str, Callable[[], str]] = {
            "*IDN?": lambda: self.identity,
            "*STB?": lambda: str((4 if self._errors else 0) | self.status.standard.summary << 5),
            "*ESR?": lambda: str(self.status.standard.take_event()),
            "*OPC?": lambda: self._completed("1"),
            "*TST?": lambda: "0",
        }
        actions: dict[str, Callable[[], object]] = {
            "*RST": self._reset,
            "*CLS": self._clear_status,
            "*WAI": lambda: self._completed(""),
            "*OPC": lambda: self._completed(""),
            "*TRG": lambda: None,
        }
        word = text.split()[0].upper()
        if word in answers:
            self._say(answers[word]().encode())
        elif word in actions:
            actions[word]()
        elif word not in {"*ESE", "*SRE"}:
            self.refuse(-113)

    def _completed(self, answer: str) -> str:
        self._wait_complete()
        return answer

    def _clear_status(self) -> None:
        self._errors.clear()
        self.status.clear()

    def _reset(self) -> None:
        for channel in self.channels.values():
            channel.reset()
        self._reset_format()

    def _queue(self, number: int, text: str) -> None:
        # Standard event register (9-348): command error, device-dependent error, execution error.
        self.status.standard.pulse(1 << {-1: 5, -3: 3}.get(math.trunc(number / 100), 4))
        if len(self._errors) < _MOST_ERRORS:
            self._errors.append((number, text))
        self.log.add("error", number=number, text=text)

    def _say(self, data: bytes) -> None:
        data += b"\n"
        self.counters["answers"] += 1
        self.counters["answer_bytes"] += len(data)
        client = self._client
        if client is not None:
            if self.log.traffic:
                text = data[:200].decode("latin-1")
                self.log.add("answer", client=client.name, text=text, bytes=len(data))
            client.send(data)

    # -- what programs find -----------------------------------------------------------------------

    def _names(self) -> dict[str, Any]:
        queue = Attributes("errorqueue", self.refuse)
        queue.fixed(next=self._next_error, clear=self._errors.clear)
        queue.computed("count", lambda: float(len(self._errors)))
        node = Attributes("localnode", self.refuse, open_=True)
        node.fixed(
            model=self.model.name,
            serialno=self.serial_number,
            revision=FIRMWARE,
            showerrors=0.0,
            prompts=0.0,
        )
        node.settable("linefreq", float(self.line_frequency_hz), self._set_line_frequency)
        node.settable("autolinefreq", True, bool)
        self._node = node
        names: dict[str, Any] = {
            "print": self._print,
            "printnumber": self._print_numbers,
            "printbuffer": self._print_buffer,
            "reset": self._reset,
            "waitcomplete": lambda *_: self._wait_complete(),
            "delay": lambda seconds: self.wait_until(self.now_s() + max(0.0, float(seconds))),
            "tonumber": _number_of,
            "tostring": self._text,
            "type": kind_of,
            "errorqueue": queue,
            "localnode": node,
            "format": self._format,
            "display": self._display(),
            "beeper": self._quiet("beeper", enable=1.0, beep=lambda *_: None),
            "status": self._status_table(),
            "string": self._quiet("string", format=_formatted),
            "table": self._quiet("table", getn=lambda each: float(each.length())),
            "math": self._quiet("math", abs=abs, sqrt=math.sqrt, exp=math.exp, pi=math.pi),
        }
        names.update({f"smu{name}": each.table for name, each in self.channels.items()})
        return names

    def _set_line_frequency(self, value: Any) -> float:
        """``localnode.linefreq``: 50 or 60; it is not detected any more then (2600AS, 19-87)."""
        self.line_frequency_hz = one_of(50, 60)(value)
        self._node.put("autolinefreq", False)
        return self.line_frequency_hz

    def _quiet(self, name: str, **fields: Any) -> Attributes:
        table = Attributes(name, self.refuse, open_=True)
        table.fixed(**fields)
        return table

    def _display(self) -> Attributes:
        nothing = {name: lambda *_: None for name in ("clear", "settext", "sendkey", "setcursor")}
        measured = {f"smu{name}": self._quiet(f"display.smu{name}") for name in self.channels}
        return self._quiet("display", SMUA=0.0, SMUB=1.0, SMUA_SMUB=2.0, **nothing, **measured)

    def _status_table(self) -> Attributes:
        """Conditions only: what the registers of section 12 latch of them is not simulated."""
        return self._quiet(
            "status",
            measurement=self._register("measurement", _measurement, self._interlock_bits),
            operation=self._register("operation", _operation, lambda: 0.0),
            questionable=self._register("questionable", lambda _: 0.0, self._high_voltage_bits),
            reset=lambda: None,
        )

    def _register(
        self, name: str, of_channel: Callable[[Channel], float], of_all: Callable[[], float]
    ) -> Attributes:
        """``status.NAME``: its own bits and bit 13 for any of a channel; ``.instrument.smuX``."""
        tables = {}
        for letter, channel in self.channels.items():
            table = self._quiet(f"status.{name}.instrument.smu{letter}")
            table.computed("condition", partial(of_channel, channel))
            tables[f"smu{letter}"] = table
        found = self._quiet(
            f"status.{name}", instrument=self._quiet(f"status.{name}.instrument", **tables)
        )
        channels = self.channels.values()
        found.computed(
            "condition", lambda: of_all() + (_INSTRUMENT if any(map(of_channel, channels)) else 0)
        )
        return found

    def _interlock_bits(self) -> float:
        """Bit 11: the interlock is asserted (9-283)."""
        return 2048.0 if self.model.interlocked_v and self._interlock_closed else 0.0

    def _high_voltage_bits(self) -> float:
        """Bit 10: the 200 V range is not ready (9-334)."""
        return 1024.0 if self.model.interlocked_v and not self._interlock_closed else 0.0

    @property
    def _interlock_closed(self) -> bool:
        return all(each.source.interlock.closed for each in self.channels.values())

    def set_interlock(self, *, closed: bool) -> None:
        """The lid of the fixture opens or closes; outputs of a model with one go off."""
        with self._woken:
            for channel in self.channels.values():
                channel.set_interlock(closed=closed)

    def _reset_format(self) -> None:
        self._format.fixed(
            ASCII=_ASCII, REAL32=_REAL32, REAL64=_REAL64, SREAL=_REAL32, DREAL=_REAL64,
            NORMAL=0.0, NETWORK=0.0, BIGENDIAN=0.0, SWAPPED=1.0, LITTLEENDIAN=1.0,
        )  # fmt: skip
        self._format.settable("data", _ASCII, one_of(_ASCII, _REAL32, _REAL64))
        self._format.settable("byteorder", _LITTLE_ENDIAN, one_of(0.0, 1.0))
        self._format.settable("asciiprecision", 6.0, number(0, 16))

    def _next_error(self) -> list[Any]:
        number, text = self._errors.popleft() if self._errors else (0, TEXTS[0])
        return [float(number), text, 20.0 if number else 0.0, 1.0]

    def _wait_complete(self) -> None:
        while any(each.sweep for each in self.channels.values()):
            self.wait_until(min(each.due_s() for each in self.channels.values()))

    def _print(self, *values: Any) -> None:
        self._say("\t".join(map(self._text, values)).encode("latin-1", "replace"))

    def _text(self, value: Any) -> str:
        if value is None:
            return "nil"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            places = int(self._format.get("asciiprecision")) or 10
            return f"{value:.{places - 1}e}"
        return value if isinstance(value, str) else f"{kind_of(value)}: 0x01"

    def _print_numbers(self, *values: Any) -> None:
        self._send_numbers([float(each) for each in values])

    def _print_buffer(self, first: float, last: float, *columns: Any) -> None:
        """Items of buffers side by side: the first of each, the second of each, ..."""
        sources = [BufferColumn(c, "readings") if isinstance(c, Buffer) else c for c in columns]
        if not sources or not all(isinstance(each, BufferColumn | Table) for each in sources):
            raise LuaError("bad argument to `printbuffer' (buffer expected)")
        low, high = int(first), int(last)
        items = [
            each.items(low, high)
            if isinstance(each, BufferColumn)
            else each.values()[low - 1 : high]
            for each in sources
        ]
        shortest = min(map(len, items))
        self._send_numbers([column[k] for k in range(shortest) for column in items])

    def _send_numbers(self, values: list[float]) -> None:
        kind = self._format.get("data")
        if kind == _ASCII:
            self._say(", ".join(map(self._text, values)).encode())
            return
        little = self._format.get("byteorder") == _LITTLE_ENDIAN
        packed = singles(values, little) if kind == _REAL32 else doubles(values, little)
        self._say(b"#0" + packed)


def _measurement(channel: Channel) -> float:
    """Bit 0 a voltage limit, 1 a current limit, 8 readings in a dedicated buffer (9-290)."""
    limited = channel.table.get("source").get("compliance")
    bits = (2.0 if channel.source.function == "VOLT" else 1.0) if limited else 0.0
    return bits + (256.0 if any(each.length() for each in channel.buffers) else 0.0)


def _operation(channel: Channel) -> float:
    """Bit 3: it is sweeping (9-312)."""
    return 8.0 if channel.sweep else 0.0


def _number_of(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _formatted(form: str, *values: Any) -> str:
    whole = [int(v) if isinstance(v, float) and v == int(v) else v for v in values]
    return form % tuple(whole[: form.replace("%%", "").count("%")])


def simulated(ports: Mapping[str, Port], options: Options) -> Keithley2600:
    """A member of the family on ports, for the registry."""
    return Keithley2600(
        options.model or "2602B",
        {name.removeprefix("smu"): port for name, port in ports.items()},
        time_scale=options.time_scale,
        line_frequency_hz=options.line_frequency_hz,
        seed=options.seed,
        noise=options.noise,
        serial_number=options.serial_number,
        interlock_closed=options.interlock_closed,
        log=options.log,
    )
