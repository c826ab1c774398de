"""The last stage: one durable file per measurement, written nowhere else.

Rules: what ``append`` acknowledged survives a killed process and a power cut; a run ends exactly
once; a damaged file is reported with its reason and never hides another; reading a run needs
nothing but its file. The file is described in docs/reference/run-file.md.
"""

from drivebay._core.runs.catalogue import Rebuilt
from drivebay._core.runs.litter import Litter
from drivebay._core.runs.marks import Mark, Note
from drivebay._core.runs.points import Points
from drivebay._core.runs.recorder import Recorder, Voice
from drivebay._core.runs.run import Run
from drivebay._core.runs.store import RunStore
from drivebay._core.runs.transcript import Message
from drivebay._core.runs.writer import Beside, Event, RunDraft, RunWriter

__all__ = [
    "Beside",
    "Event",
    "Litter",
    "Mark",
    "Message",
    "Note",
    "Points",
    "Rebuilt",
    "Recorder",
    "Run",
    "RunDraft",
    "RunStore",
    "RunWriter",
    "Voice",
]
