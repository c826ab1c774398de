"""Whether a plugin fits this platform: contract version, Python, distributions.

Answers with a sentence or with None; never raises on a manifest's content and never imports a
distribution to look at it (``importlib.metadata`` reads its files).
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version

    from drivebay._core.manifest import PluginMetadata

CONTRACT_VERSION = "1.0.0"
"""Version of the driver contract, not of the package: what ``platform_version`` is by default."""


@lru_cache(maxsize=256)
def _version(text: str) -> Version:
    from packaging.version import Version

    return Version(text)


def parse_platform_version(text: str) -> Version:
    """Return the platform's version, as given by the program that hosts plugins.

    Raises:
        ValueError: ``text`` is not a PEP 440 version. A host that does not know its own version
            must hear of it at once, not as a refusal of every plugin.
    """
    from packaging.version import InvalidVersion

    try:
        return _version(text)
    except (InvalidVersion, TypeError) as exc:
        raise ValueError(f"platform_version {text!r} is not a version such as '1.0.0'") from exc


@lru_cache(maxsize=1024)
def platform_problem(
    minimum: str, maximum: str | None, specifiers: str | None, platform: str
) -> str | None:
    """Say why ``platform`` is outside a plugin's range, or None.

    The release part decides: a release candidate, development build or local build of the platform
    is treated as the release it leads to, otherwise ``1.0.0.dev3`` would refuse every plugin.
    A maximum admits everything below it in its own detail: ``1.9`` admits ``1.9.7``.

    >>> platform_problem("1.0.0", "1.9", None, "1.9.7") is None
    True
    >>> platform_problem("2.0", "2.9", None, "1.9.1")
    'needs platform >=2.0,<=2.9, this is 1.9.1'
    """
    here = _version(platform)
    wanted = [f">={minimum}"] if minimum else []
    if maximum:
        wanted.append(f"<={maximum}")
    if specifiers:
        wanted.append(specifiers)
    fits = True
    if minimum:
        fits = _release(here) >= _release(_version(minimum))
    if fits and maximum:
        top = _version(maximum).release
        padded = here.release + (0,) * (len(top) - len(here.release))
        fits = padded[: len(top)] <= top
    if fits and specifiers:
        from packaging.specifiers import SpecifierSet

        fits = SpecifierSet(specifiers).contains(here.base_version, prereleases=True)
    return None if fits else f"needs platform {','.join(wanted)}, this is {platform}"


def _release(version: Version) -> tuple[int, ...]:
    # 1.0 and 1.0.0 are the same release; tuples of different length would not compare so.
    numbers = version.release
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers


@lru_cache(maxsize=256)
def python_problem(specifiers: str | None) -> str | None:
    """Say why this Python is outside ``requires_python``, or None."""
    if not specifiers:
        return None
    from packaging.specifiers import SpecifierSet

    here = ".".join(map(str, sys.version_info[:3]))
    if SpecifierSet(specifiers).contains(here, prereleases=True):
        return None
    return f"needs Python {specifiers}, this is {here}"


def missing_dependencies(requirements: list[str]) -> list[str]:
    """Return one sentence per distribution that is missing or has the wrong version.

    Args:
        requirements: PEP 508 strings; markers that do not apply here are skipped.
    """
    if not requirements:
        return []
    from importlib import metadata

    from packaging.requirements import Requirement

    missing = []
    for text in requirements:
        need = Requirement(text)
        if need.marker is not None and not need.marker.evaluate():
            continue
        try:
            have = metadata.version(need.name)
        except metadata.PackageNotFoundError:
            missing.append(f"needs {text}, not installed")
            continue
        if not need.specifier.contains(have, prereleases=True):
            missing.append(f"needs {text}, installed is {have}")
    return missing


Needs = tuple[str, str | None, str | None, str | None]


def static_problem(needs: Needs, platform: str) -> str | None:
    """Say why a plugin cannot be used here, from its manifest alone, or None.

    Args:
        needs: minimum, maximum and specifiers for the platform, specifiers for Python.
        platform: version of the platform's contract.
    """
    minimum, maximum, specifiers, python = needs
    return platform_problem(minimum, maximum, specifiers, platform) or python_problem(python)


def needs_of(metadata: PluginMetadata) -> Needs:
    """Return what a manifest asks of the platform and of Python."""
    return (
        metadata.min_platform_version,
        metadata.max_platform_version,
        metadata.requires_platform,
        metadata.requires_python,
    )


def line_of_key(text: str, *keys: str) -> int:
    """Return the 1-based line of the first of ``keys`` set at the top level, 0 when none is."""
    for key in keys:
        found = re.search(rf"^{re.escape(key)}\s*:", text, re.MULTILINE)
        if found:
            return text.count("\n", 0, found.start()) + 1
    return 0
