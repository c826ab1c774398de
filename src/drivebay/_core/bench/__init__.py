"""The bench file: bench.yaml -> Bench; which instruments there are, and what nobody may exceed.

The path inside: ``model`` (what a bench is) and ``values`` (what its numbers and names may be) ->
``keys`` (the tables of keys) -> ``check`` (what must hold between them) -> ``read`` (files). Pure
data: no plugin code is run, no link is opened, nothing is looked up, and content never raises but
as a ``BenchError`` that lists every problem.
"""

from drivebay._core.bench.model import (
    Bench,
    BenchChannel,
    BenchInstrument,
    BenchRamp,
    identity_problem,
)
from drivebay._core.bench.read import bench_schema, find_bench, load_bench, read_bench

__all__ = [
    "Bench",
    "BenchChannel",
    "BenchInstrument",
    "BenchRamp",
    "bench_schema",
    "find_bench",
    "identity_problem",
    "load_bench",
    "read_bench",
]
