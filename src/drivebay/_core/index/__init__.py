"""Stage 2: which plugins there are, good and bad, and which one answers a question.

``sources`` finds them, ``cache`` keeps what was found, ``catalog`` knows who claims what,
``answers`` gives the one that answers, ``spelling`` says when two names are one, ``compat`` whether
they fit. Nothing here imports plugin code.
"""

from drivebay._core.index.answers import Answers
from drivebay._core.index.cache import CacheFile
from drivebay._core.index.catalog import Candidate, Catalog, Conflict, maker_agrees, winners
from drivebay._core.index.compat import (
    CONTRACT_VERSION,
    line_of_key,
    missing_dependencies,
    needs_of,
    parse_platform_version,
    python_problem,
    static_problem,
)
from drivebay._core.index.folders import searched_folders
from drivebay._core.index.sources import (
    Record,
    Scan,
    SeenFile,
    Source,
    claims_in_manifest,
    claims_in_source,
    read_file,
    scan,
)
from drivebay._core.index.spelling import Identity, normal_maker, normal_model, parse_idn

__all__ = [
    "CONTRACT_VERSION",
    "Answers",
    "CacheFile",
    "Candidate",
    "Catalog",
    "Conflict",
    "Identity",
    "Record",
    "Scan",
    "SeenFile",
    "Source",
    "claims_in_manifest",
    "claims_in_source",
    "line_of_key",
    "maker_agrees",
    "missing_dependencies",
    "needs_of",
    "normal_maker",
    "normal_model",
    "parse_idn",
    "parse_platform_version",
    "python_problem",
    "read_file",
    "scan",
    "searched_folders",
    "static_problem",
    "winners",
]
