"""Replay: a run's driver code against the run's own traffic, with no instrument.

``recording`` is what a replay is made from, ``code`` the driver's files, ``player`` the instrument
that is played, ``judging`` the run's limits, ``desk`` the keeper that lends it, ``engine`` runs it,
``both`` two of them in step, ``points`` and ``report`` say what came of it; ``stored`` begins with
a run.
"""

from __future__ import annotations

from drivebay._core.replay.engine import replay
from drivebay._core.replay.judging import Refusal
from drivebay._core.replay.player import Difference
from drivebay._core.replay.points import ColumnDifference
from drivebay._core.replay.recording import Message, Recording, sources_sha256
from drivebay._core.replay.report import Replay
from drivebay._core.replay.stored import recording_of, replay_run

__all__ = [
    "ColumnDifference",
    "Difference",
    "Message",
    "Recording",
    "Refusal",
    "Replay",
    "recording_of",
    "replay",
    "replay_run",
    "sources_sha256",
]
