"""The bench file, files: where it is, its bytes -> Bench, and its JSON Schema.

A bench file comes under the rules of the manifest's reader: bounded size and depth, no anchors,
aliases or tags, text until a key says otherwise. What both can have wrong has the same number,
M003 of a manifest is B003 here; from B101 on the codes are the bench file's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from drivebay._core.bench.check import check_bench
from drivebay._core.bench.keys import BENCH
from drivebay._core.bench.model import Bench
from drivebay._core.errors import BenchError, Diagnostic, ManifestError
from drivebay._core.manifest import read_bytes
from drivebay._core.manifest.json_schema import DIALECT
from drivebay._core.manifest.metadata import located
from drivebay._core.manifest.reader import Typing, compose, is_incomplete, top_values
from drivebay._core.manifest.schema import object_schema
from drivebay._core.manifest.text import Document

FILE_NAME: Final = "bench.yaml"
VARIABLE: Final = "DRIVEBAY_BENCH"

DOCUMENT: Final = Document("bench file", "it names instruments", max_nodes=10_000)
_TYPED: Final[Typing] = {"instruments": {"*": {"config": True}}}


def find_bench(home: Path | str) -> Path | None:
    """The bench file that is in force, or None if there is none.

    It is the one that the environment variable DRIVEBAY_BENCH names, there or not; else
    ``bench.yaml`` in the current folder; else the one in the home folder.

    Args:
        home: the home folder, as `Bay.home` has it.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    for path in (Path(FILE_NAME), Path(home) / FILE_NAME):
        # Also what cannot be read: limits that vanish without a word are worse than an error.
        if os.path.lexists(path):
            return path.absolute()
    return None


def load_bench(path: Path | str) -> Bench:
    """The bench in a bench file.

    Raises:
        BenchError: a ``ValueError`` that lists every problem with line and column.
        OSError: the file is missing or may not be read.
    """
    try:
        data = read_bytes(path)
    except ManifestError as exc:  # not a regular file; nothing was read
        raise BenchError(_as_bench(exc.diagnostics), path=str(path)) from None
    bench, found = read_bench(data, path)
    if bench is None:
        raise BenchError(found, path=str(path))
    return bench


def read_bench(data: bytes, path: Path | str) -> tuple[Bench | None, tuple[Diagnostic, ...]]:
    """The bench in a file's bytes, and everything that is wrong or odd about it.

    Never raises on content.

    Args:
        data: the file's bytes; more than 64 KiB are refused unread.
        path: the file, for the diagnostics.

    Returns:
        The bench, or None if there is an error among the diagnostics.
    """
    root, problems = compose(data, DOCUMENT)
    bench = None
    if root is not None:
        raw = top_values(root, len(data), problems, DOCUMENT, _TYPED)
        if not is_incomplete(problems):
            bench = check_bench(raw, Path(path).absolute(), problems)
    found = _as_bench(located(problems, root, str(path)))
    if bench is not None and found:
        bench = replace(bench, warnings=found)
    return bench, found


def bench_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a bench file, as fresh plain data."""
    return {
        "$schema": DIALECT,
        "title": "Drivebay bench file (bench.yaml)",
        **object_schema(BENCH, blanks=False),
    }


def _as_bench(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Diagnostics of the manifest's machinery under the bench file's letter."""
    return tuple(
        replace(each, code=f"B{each.code[1:]}") if each.code.startswith("M") else each
        for each in found
    )
