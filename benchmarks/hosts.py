"""Rows of a driver's process: a call, an array, a start, and the memory of one more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from rows import Row, installed, seconds
from sessions import _private_bytes, pinned
from timing import compare, per_call

SCRIPT = "`benchmarks/hosts.py`"
POINTS = 131_072  # 1 MiB of float64
DRIVER = """
import numpy as np
from drivebay.driver import ScpiDriver


class Driver(ScpiDriver):
    points = np.zeros(131_072)

    def connect(self):
        return True

    def get_identity(self):
        return {"model": "none"}

    def one(self, method, params):
        volts = params["v"]
        return {"v": volts, "i": volts * 1e-3, "r": 1000.0}

    def many(self):
        self.points[0] += 1.0
        return self.points
"""


class Peer:
    """The same driver as an ordinary object, for the peers."""

    def __init__(self) -> None:
        import numpy as np

        self.points = np.zeros(POINTS)

    def one(self, method: str, params: dict[str, float]) -> dict[str, float]:
        volts = params["v"]
        return {"v": volts, "i": volts * 1e-3, "r": 1000.0}

    def many(self) -> Any:
        self.points[0] += 1.0
        return self.points


Call = Callable[..., Any]
_FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def _forked(serve: Callable[[], None]) -> Iterator[int]:
    process = _FORK.Process(target=serve, daemon=True)
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def _bare_pipes() -> Iterator[tuple[Call, int]]:
    """The limit: bytes over two pipes, a question answered by as many as were asked for."""
    from drivebay._core.wire import pipe_pair

    (read, write), (their_read, their_write) = pipe_pair()
    for fd in (read, write, their_read, their_write):
        os.set_blocking(fd, True)
    room = bytearray(8 * POINTS)

    def serve() -> None:
        source = memoryview(bytes(b"x" * 8 * POINTS))
        while asked := os.read(their_read, 64):
            rest = source[: int(asked)]
            while rest:
                rest = rest[os.write(their_write, rest) :]

    def call(size: int = 60) -> None:
        os.write(write, b"%-64d" % size)
        got = 0
        while got < size:
            got += os.readv(read, [memoryview(room)[got:size]])

    with _forked(serve) as pid:
        yield call, pid
    for fd in (read, write, their_read, their_write):
        os.close(fd)


@contextlib.contextmanager
def _mp_pipe() -> Iterator[tuple[Call, int]]:
    ours, theirs = _FORK.Pipe()

    def serve() -> None:
        peer = Peer()
        while True:
            name, args = theirs.recv()
            theirs.send(getattr(peer, name)(*args))

    def call(name: str, *args: Any) -> Any:
        ours.send((name, args))
        return ours.recv()

    with _forked(serve) as pid:
        yield call, pid
    ours.close()
    theirs.close()


_peer: Peer | None = None


def _make_peer() -> None:
    global _peer
    _peer = Peer()


def _call_peer(name: str, args: tuple[Any, ...]) -> Any:
    return getattr(_peer, name)(*args)


@contextlib.contextmanager
def _pool() -> Iterator[tuple[Call, int]]:
    with ProcessPoolExecutor(1, mp_context=_FORK, initializer=_make_peer) as pool:
        pid = pool.submit(os.getpid).result()
        yield (lambda name, *args: pool.submit(_call_peer, name, args).result()), pid


@contextlib.contextmanager
def _pyro(work: Path) -> Iterator[tuple[Call, int] | None]:
    if not installed("Pyro5"):
        yield None
        return
    import Pyro5.api

    path = str(work / "pyro.sock")
    uris = _FORK.SimpleQueue()

    def serve() -> None:
        exposed = Pyro5.api.expose(Peer)
        daemon = Pyro5.api.Daemon(unixsocket=path)
        uris.put(str(daemon.register(exposed())))
        daemon.requestLoop()

    with _forked(serve) as pid, Pyro5.api.Proxy(uris.get()) as proxy:
        yield (lambda name, *args: getattr(proxy, name)(*args)), pid


@contextlib.contextmanager
def _host(work: Path, starter: Any = None) -> Iterator[Any]:
    """A driver in a host, loaded and made."""
    from drivebay._core.host import Code, Host
    from drivebay._core.loader import LoadPlan, read_files
    from drivebay._core.manifest import PluginMetadata

    folder = work / "bench_host"
    folder.mkdir(exist_ok=True)
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    (folder / "plugin.yaml").write_text("name: bench_host\n", encoding="utf-8")
    home, path = str(folder), str(folder / "plugin.yaml")
    plan = LoadPlan("bench_host", home, str(work), path, "driver.Driver")
    metadata = PluginMetadata("bench_host", "1.0", "", "", driver_class="driver.Driver")
    host = Host.start("bench_host", "1.0", starter=starter)
    try:
        host.load(Code(plan, metadata, read_files(plan)))
        host.create("SIM::1", {})
        yield host
    finally:
        host.close()


def _beside(figures: dict[str, float], missing: list[str]) -> str:
    words = [f"{name} {seconds(value)}" for name, value in figures.items()]
    return ", ".join(words + [f"{name} not installed" for name in missing])


def host_calls(work: Path, quick: bool) -> list[Row]:
    """A small call and a large answer, everything on one core."""
    calls = 50 if quick else 2_000
    turns = 1 if quick else 9
    with (
        _host(work) as host,
        _bare_pipes() as (bare, bare_pid),
        _mp_pipe() as (piped, piped_pid),
        _pool() as (pooled, pooled_pid),
        _pyro(work) as pyro,
    ):
        arguments = ("iv", {"v": 1.5})
        small = {
            "own": per_call(lambda: host.call("one", *arguments), calls),
            "bare pipes": per_call(bare, calls),
            "multiprocessing.Pipe": per_call(lambda: piped("one", *arguments), calls),
            "ProcessPoolExecutor": per_call(lambda: pooled("one", *arguments), calls),
        }
        pids = [host.pid, bare_pid, piped_pid, pooled_pid]
        if pyro is not None:
            remote, pyro_pid = pyro
            pids.append(pyro_pid)
            small["Pyro5"] = per_call(lambda: remote("one", *arguments), calls // 5)
        large = {
            "own": per_call(lambda: host.call("many"), max(10, calls // 20)),
            "bare pipes": per_call(lambda: bare(8 * POINTS), max(10, calls // 20)),
            "multiprocessing.Pipe": per_call(lambda: piped("many"), max(10, calls // 20)),
            "ProcessPoolExecutor": per_call(lambda: pooled("many"), max(10, calls // 20)),
        }
        with pinned(*pids):
            small_result = compare(small, turns)
            large_result = compare(large, turns)
    missing = [] if pyro is not None else ["Pyro5"]
    rows = []
    for title, result, most_s, must, lacking in (
        ("small call to an isolated driver, pinned to one core", small_result, 25e-6,
         "<= 25 us (aim 12)", missing),
        ("1 MiB of float64 from an isolated driver, pinned to one core", large_result, 300e-6,
         "<= 300 us (aim 150)", []),
    ):  # fmt: skip
        own_s = result.median_s("own")
        others = {name: result.median_s(name) for name in result.turns[0] if name != "own"}
        ratio = (
            f"{result.ratio('own', 'bare pipes'):.1f}x the bare pipes, "
            f"{result.ratio('multiprocessing.Pipe', 'own'):.1f}x faster than multiprocessing.Pipe"
        )
        figure, beside = seconds(own_s), _beside(others, lacking)
        rows.append(Row(title, figure, beside, ratio, must, own_s <= most_s, SCRIPT))
    return rows


def host_starts(work: Path, quick: bool) -> list[Row]:
    """From nothing to a made driver, and what its process costs in memory."""
    from drivebay._core.host import interpreters, zygote

    zygote()

    def started(starter: Any) -> float:
        began = time.perf_counter()
        with _host(work, starter):
            return time.perf_counter() - began

    def forked() -> float:
        began = time.perf_counter()
        process = _FORK.Process(target=_make_peer)
        process.start()
        process.join()
        return time.perf_counter() - began

    result = compare(
        {
            "own": lambda: started(zygote()),
            "interpreter": lambda: started(interpreters()),
            "fork": forked,
        },
        2 if quick else 15,
    )
    own_s = result.median_s("own")
    with contextlib.ExitStack() as stack:
        forked_hosts = [stack.enter_context(_host(work)) for _ in range(2 if quick else 8)]
        fresh = stack.enter_context(_host(work, interpreters()))
        private = statistics.median(_private_bytes(host.pid) for host in forked_hosts)
        fresh_private = _private_bytes(fresh.pid)
    megabytes = 1 << 20
    return [
        Row(
            "start a driver's process, import the driver and make it",
            seconds(own_s),
            f"a new interpreter {seconds(result.median_s('interpreter'))}, multiprocessing's fork "
            f"of this process without a driver {seconds(result.median_s('fork'))}",
            f"{result.ratio('interpreter', 'own'):.1f}x faster than an interpreter",
            "<= 15 ms (aim 5)",
            own_s <= 15e-3,
            SCRIPT,
        ),
        Row(
            "private memory of one more driver's process, numpy in use",
            f"{private / megabytes:.1f} MiB",
            f"a new interpreter {fresh_private / megabytes:.1f} MiB",
            f"{fresh_private / private:.1f}x less than an interpreter",
            "<= 10 MiB (aim 5)",
            private <= 10 * megabytes,
            SCRIPT,
        ),
    ]


ALL = (host_calls, host_starts)
