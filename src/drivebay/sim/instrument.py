"""The engine of a simulated SCPI instrument: messages in, answers out, what waits while busy.

Promises: commands are executed in the order they arrived, one at a time, whatever connection they
came on; while the instrument is busy only what its manual lets through is executed at once and
everything else waits in the input buffer; one program message gives at most one response message.
Never does input or output itself: a ``Client`` does.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drivebay.sim.eventlog import EventLog
from drivebay.sim.status import MESSAGES, Status
from drivebay.sim.syntax import Command, CommandTree, Framer, ScpiError, Unit

_CACHED_MESSAGES = 512


class Client(Protocol):
    """Where a message came from and its answer goes to."""

    name: str

    def send(self, data: bytes) -> None:
        """Takes an answer; must not block (it is called with the instrument locked)."""

    def flush(self) -> None:
        """Lets the answers go; may block."""


@dataclass(slots=True)
class Exchange:
    """One program message and the answers to it so far."""

    client: Client
    open_units: int
    answers: list[bytes] = field(default_factory=list)


class ScpiInstrument:
    """A simulated instrument without commands; models derive from it.

    What a model gives: a command tree, ``identity``, and where it has any of it ``reset``,
    ``busy``, ``abort``, ``present``, ``close``.

    Attributes:
        identity: its answer to ``*IDN?``.
        error_texts: what its manual calls its error numbers, beside those of SCPI.
        status: registers and error queue.
        log: the event log.
        obeys_only_abort_while_busy: True: while busy, only ``urgent`` commands are executed.
        counters: messages, units, answers and their bytes, since the start.
    """

    identity: str = ""
    error_texts: Mapping[int, str] = {}

    def __init__(self, tree: CommandTree, log: EventLog, obeys_only_abort_while_busy: bool) -> None:
        self.status = Status()
        self.log = log
        self.obeys_only_abort_while_busy = obeys_only_abort_while_busy
        self.counters = {"messages": 0, "units": 0, "answers": 0, "answer_bytes": 0}
        self.lock = threading.RLock()
        self._tree = tree
        self._pending: deque[tuple[Unit, Exchange]] = deque()
        self._exchange: Exchange | None = None
        self._parsed: dict[str, list[Unit]] = {}
        self._waiting_clients: list[Client] = []
        self._complete_when_idle = False
        self._overtaken = 0

    @property
    def busy(self) -> bool:
        """True while an overlapped operation runs."""
        return False

    @property
    def status_byte(self) -> int:
        """The status byte now, as a serial poll would see it; also while busy."""
        with self.lock:
            return self.status.byte(bool(self._exchange and self._exchange.answers))

    @property
    def waiting_units(self) -> int:
        """How many commands wait in the input buffer."""
        with self.lock:
            return len(self._pending)

    def receive(self, client: Client, message: str) -> None:
        """Takes one program message; answers go to the client, now or later."""
        if self.log.traffic:
            self.log.add("message", client=client.name, text=message)
        with self.lock:
            units = self._units(message)
            if not units:
                return
            self.counters["messages"] += 1
            exchange = Exchange(client, len(units))
            self._pending.extend((unit, exchange) for unit in units)
            self.pump()
        self.flush_clients()

    def pump(self) -> None:
        """Executes what may be executed now. The caller holds the lock."""
        if self._exchange is not None:
            return  # a command that ends an operation must not start the next command inside itself
        while (place := self._next_place()) is not None:
            unit, exchange = self._pending[place]
            del self._pending[place]
            self._overtaken = place
            self._execute(unit, exchange)

    def _next_place(self) -> int | None:
        """Where in the input buffer the next command to execute is; None if all must wait."""
        if not self._pending:
            return None
        if not self.busy or self._may_overlap(self._pending[0][0]):
            return 0
        for place, (unit, _) in enumerate(self._pending):
            if unit.command is not None and unit.command.urgent:
                return place
        return None

    def flush_clients(self) -> None:
        """Lets answers go to their clients. The caller does not hold the lock."""
        if self._waiting_clients:
            with self.lock:
                clients, self._waiting_clients = self._waiting_clients, []
            for client in clients:
                client.flush()

    def became_idle(self) -> None:
        """What waited for the end of the operation happens. The caller holds the lock."""
        if self._complete_when_idle:
            self._complete_when_idle = False
            self.status.standard.pulse(1)
        self.pump()

    def query_when_idle(self, command: Command) -> None:
        """Lets another query answer for the present unit, once the instrument is idle."""
        if self._exchange is not None:
            self._exchange.open_units += 1
            self._pending.appendleft((Unit(command, True, []), self._exchange))

    def operation_complete(self) -> None:
        """``*OPC``: sets its event now, or when the running operation has ended."""
        if self.busy:
            self._complete_when_idle = True
        else:
            self.status.standard.pulse(1)

    def cancel_pending(self) -> None:
        """Forgets the commands the present one overtook, and a pending ``*OPC``."""
        self._complete_when_idle = False
        for _ in range(self._overtaken):
            _, exchange = self._pending.popleft()
            exchange.open_units -= 1 if exchange is self._exchange else 0
        self._overtaken = 0

    def abort(self) -> None:
        """Ends the running operation; there is none here."""

    def reset(self) -> None:
        """``*RST``: idle, outputs off, defaults; what the present command overtook is cancelled."""
        self.cancel_pending()
        self.abort()

    def present(self) -> None:
        """Tells the circuit what the terminals are now; called after every command."""

    def framer(self) -> Framer:
        """What cuts a client's bytes into messages."""
        return Framer()

    def error_entry(self, number: int) -> str:
        """An entry of the error queue as the instrument answers it; 0 is the empty queue.

        >>> ScpiInstrument(CommandTree(()), EventLog(), True).error_entry(-113)
        '-113,"Undefined header"'
        """
        text = self.error_texts.get(number) or MESSAGES.get(number, "Device-specific error")
        return f'{number:d},"{text}"'

    def device_clear(self) -> None:
        """What DCL, SDC or a USBTMC clear does: idle at once, buffers empty, settings untouched.

        A raw TCP socket has no such message; tests and transports that have one call this.
        """
        with self.lock:
            self.log.add("device_clear")
            self._pending.clear()
            self._complete_when_idle = False
            self.abort()
            self.pump()
        self.flush_clients()

    def query_interrupted(self) -> None:
        """Error -410: a transport with a message exchange protocol dropped an unread answer.

        IEEE 488.2, 6.3.2.3. A raw socket never does; it delivers every answer in order.
        """
        with self.lock:
            self.error(-410)

    def overrun(self) -> None:
        """A message was too long and is lost: error -363. The caller holds the lock."""
        self.error(-363)

    def error(self, number: int) -> None:
        """Queues an error and logs it."""
        self.status.error(number)
        self.log.add("error", number=number)

    def close(self) -> None:
        """Ends what the instrument runs in the background."""

    def _units(self, message: str) -> list[Unit]:
        units = self._parsed.get(message)
        if units is None:
            units = self._tree.parse(message)
            if len(message) < 64 and len(self._parsed) < _CACHED_MESSAGES:
                self._parsed[message] = units
        return units

    def _may_overlap(self, unit: Unit) -> bool:
        if self.obeys_only_abort_while_busy:
            return False
        command = unit.command
        # *OPC? waits and *OPC does not; what has no query, *WAI, waits as a command.
        return command is None or not (
            command.when_idle and (unit.is_query or command.query is None)
        )

    def _execute(self, unit: Unit, exchange: Exchange) -> None:
        self._exchange = exchange
        self.counters["units"] += 1
        try:
            self._call(unit, exchange)
        except ScpiError as error:
            self.error(error.number)
        except Exception:  # noqa: BLE001 - a fault of the simulator is an answer too: +900, and its traceback
            self.error(900)
            self.log.add("internal_error", traceback=traceback.format_exc())
        finally:
            self._exchange = None
            self.present()
        exchange.open_units -= 1
        if exchange.open_units == 0 and exchange.answers:
            self._answer(exchange)

    def _call(self, unit: Unit, exchange: Exchange) -> None:
        command = unit.command
        if command is None:
            raise ScpiError(unit.error)
        if not unit.is_query:
            if command.write is not None:
                command.write(self, unit.arguments)
            return
        answer = command.query(self, unit.arguments) if command.query is not None else None
        if answer is not None:
            exchange.answers.append(answer.encode("latin-1") if isinstance(answer, str) else answer)

    def _answer(self, exchange: Exchange) -> None:
        data = b";".join(exchange.answers) + b"\n"
        self.counters["answers"] += 1
        self.counters["answer_bytes"] += len(data)
        if self.log.traffic:
            text = data[:200].decode("latin-1")
            self.log.add("answer", client=exchange.client.name, text=text, bytes=len(data))
        exchange.client.send(data)
        self._waiting_clients.append(exchange.client)
