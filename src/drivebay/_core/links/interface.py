"""What every link promises to a driver, wherever its channel is held.

A driver sees only this: the channel may be in this process (``direct``), in the keeper (``kept``),
or a recording (``replay``). The rules of asking and answering are at the top of ``direct.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from drivebay._core.errors import LinkTimeoutError

Sink = Callable[[int, str, bytes], None]


class Link(ABC):
    """One open channel to an instrument.

    Attributes:
        resource: canonical address.
        interface: ``socket``, ``tcpip``, ``usb``, ``gpib``, ``serial`` or ``replay``.
        supports_binary: IEEE 488.2 blocks get through unharmed.
        timeout_s: total deadline of an operation that names none.
        identity: the answer to the first ``*IDN?`` asked on this link, None before.
    """

    supports_binary = True
    resource: str
    interface: str
    timeout_s: float
    identity: str | None

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether this link can no longer be used (closed here, or lost)."""

    @property
    @abstractmethod
    def transcript(self) -> Sequence[tuple[int, str, bytes]]:
        """The last messages: ``(monotonic_ns, "w" or "r", bytes)``, at most 4096 bytes of each."""

    @property
    @abstractmethod
    def reopened(self) -> int:
        """How often the channel was made new."""

    @abstractmethod
    def write(
        self, command: str | bytes, *, timeout_s: float | None = None, end: bytes | None = None
    ) -> None:
        """Send one command and its terminator.

        A command without a question never waits for a reader. One with a question (``*IDN?``) waits
        for its turn; read its answer with :meth:`read` or :meth:`read_block`. With several such
        questions on their way answers are taken in order: if the instrument leaves one out, the
        next one is read in its place. :meth:`query` has one question on its way, and no such gap.

        Args:
            command: text without line ends inside, or bytes (sent as they are).
            timeout_s: total deadline, by default :attr:`timeout_s`.
            end: sent after it instead of the link's own terminator.

        Raises:
            LinkTimeoutError: the instrument did not take it in time.
            LinkLostError: the channel broke, now or earlier.
            ValueError: the text holds a line end, which would make two commands of it.
        """

    def write_each(self, commands: Sequence[str], *, timeout_s: float | None = None) -> None:
        """Send commands, each as a message of its own, in order; the first that fails ends it.

        The same as as many calls of :meth:`write`, and on a kept link one message to the keeper.

        Args:
            commands: as :meth:`write` takes them.
            timeout_s: deadline of each, by default :attr:`timeout_s`.

        Raises: as :meth:`write`.
        """
        for command in commands:
            self.write(command, timeout_s=timeout_s)

    @abstractmethod
    def query(self, command: str, *, timeout_s: float | None = None) -> str:
        """Ask one question; its answer as text without the terminator.

        Args:
            command: a question, such as ``"*IDN?"``.
            timeout_s: total deadline for sending and answering, by default :attr:`timeout_s`.

        Raises:
            LinkTimeoutError: no whole answer in time; the link stays usable.
            LinkLostError: the channel broke, or another instrument answers after a reopen.
            AnswerError: the answer is not text, or longer than 16 MiB.
        """

    def try_ask(self, command: str, *, wait_s: float, after: Sequence[str] = ()) -> str | None:
        """Ask a question that may take long; its answer, or None if it has not come yet.

        Then the answer is still owed: :meth:`read` waits for it. The same as :meth:`write_each`,
        :meth:`write` and a first :meth:`read`, and on a kept link one message to the keeper.

        Args:
            command: a question.
            wait_s: how long to wait for the answer; sending has the link's own deadline.
            after: commands to send before it.

        Raises: as :meth:`write` and :meth:`read`.
        """
        self.write_each(after)
        self.write(command)
        try:
            return self.read(timeout_s=wait_s)
        except LinkTimeoutError:
            return None

    @abstractmethod
    def query_block(self, command: str, *, timeout_s: float | None = None) -> bytes:
        """Ask one question that is answered by an IEEE 488.2 block; its payload.

        Where the channel has no END (raw sockets, serial), a block of indefinite length (``#0``)
        ends at a newline followed by 50 ms of silence.

        Raises:
            LinkTimeoutError: the block was not complete in time.
            LinkLostError: the channel broke.
            AnswerError: the answer is not a block, is longer than 16 MiB, or goes on after it.
        """

    @abstractmethod
    def read(self, *, timeout_s: float | None = None) -> str:
        """The next answer as text, without the terminator; the oldest one that is owed.

        Raises: as :meth:`query`.
        """

    @abstractmethod
    def read_block(self, *, timeout_s: float | None = None) -> bytes:
        """The next answer as the payload of a block. Raises: as :meth:`query_block`."""

    @abstractmethod
    def read_raw(
        self, *, at_most: int = 16 << 20, stop: bytes | None = None, timeout_s: float | None = None
    ) -> tuple[bytes, bool]:
        """The next answer as it came, with block headers and terminator.

        On a channel with END it is what came before END. Without END (raw socket, serial) it is a
        line, or a block and what follows it up to the terminator; a block without a terminator
        ends with 250 ms of silence.

        Args:
            at_most: bytes after which an answer that is no block is cut; read again for its rest.
            stop: the byte a line ends with, by default the last of the link's terminator.
            timeout_s: total deadline, by default :attr:`timeout_s`.

        Returns:
            The bytes, and whether the answer ended with them.

        Raises: as :meth:`read_block`; only an answer over the limit is an AnswerError.
        """

    @abstractmethod
    def interrupt(self) -> bool:
        """Stop what the instrument is doing: device clear, where the interface has one.

        What was asked before is no answer to what is asked after it.

        Returns:
            True when a device clear was sent, False where the interface knows none; then only
            what the instrument's manual says stops it.
        """

    @abstractmethod
    def give_up(self) -> None:
        """End the wait of whoever reads now, as if its deadline had come; from any thread.

        For an abort: an instrument that was stopped may never answer what it was asked before.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the channel; a query that waits in another thread ends with LinkLostError."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.resource}{' closed' if self.closed else ''}>"
