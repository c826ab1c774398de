"""Stage 1, the words: which names, versions, specifiers and class paths a manifest may hold.

Every check takes text and returns what is wrong with it as a sentence, or an empty string.
Ordinary spellings are accepted by one regular expression; only unusual ones cost the import of
``packaging``.
Nothing here reads a file, imports plugin code or asks which distributions are installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from keyword import iskeyword

from drivebay._core.errors import Diagnostic, ManifestError

NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_-]{1,63}"
CLASS_PATTERN = (
    r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}"
    r"[.:][A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,7}"
)
# YAML 1.1 turns these into booleans and nulls. A plugin called `on` would be found by some readers
# of the same file as True, so nobody gets to be called that.
YAML_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "none", "nan", "inf"})
MAX_VERSION_TEXT = 64
MAX_SPECIFIER_TEXT = 256
MAX_REQUIREMENT_TEXT = 512

_name = re.compile(NAME_PATTERN)
_class = re.compile(CLASS_PATTERN)
_release = re.compile(r"\d{1,9}(\.\d{1,9}){0,7}")
_plain_version = re.compile(
    r"\d{1,9}(\.\d{1,9}){0,7}((a|b|rc)\d{1,9})?(\.post\d{1,9})?(\.dev\d{1,9})?"
)
_clause = r"(~=\d{1,9}(\.\d{1,9}){1,7}|(==|!=|<=|>=|<|>)\d{1,9}(\.\d{1,9}){0,7})"
_plain_specifier = re.compile(rf"{_clause}(, ?{_clause})*")
_plain_requirement = re.compile(
    rf"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?( ?{_clause}(, ?{_clause})*)?"
)


def canonical_name(name: str) -> str:
    """The form in which two plugin names are compared: lower case, ``-`` as ``_``.

    >>> canonical_name("Keithley-2400")
    'keithley_2400'
    """
    return name.strip().lower().replace("-", "_")


def name_fault(text: str) -> str:
    """What is wrong with a plugin's name, or an empty string."""
    if text.lower() in YAML_WORDS:
        return f"{text!r} is a YAML word for true, false or nothing and cannot be a plugin's name"
    if _name.fullmatch(text):
        return ""
    return (
        f"{clip(text)} is not a plugin name: a letter, then 1 to 63 letters, digits, '_' or '-', "
        "as in keithley_2400"
    )


def version_fault(text: str) -> str:
    """What is wrong with a PEP 440 version, or an empty string."""
    if _plain_version.fullmatch(text):
        return ""
    if len(text) > MAX_VERSION_TEXT:
        return f"{clip(text)} is not a version: longer than {MAX_VERSION_TEXT} characters"
    from packaging.version import InvalidVersion, Version

    try:
        Version(text)
    except InvalidVersion:
        return f"{clip(text)} is not a version; versions look like 1.2.3 or 2.0rc1 (PEP 440)"
    return ""


def specifier_fault(text: str) -> str:
    """What is wrong with a PEP 440 specifier set such as ``>=1,<2``, or an empty string."""
    if _plain_specifier.fullmatch(text):
        return ""
    if len(text) > MAX_SPECIFIER_TEXT:
        return f"{clip(text)} is longer than {MAX_SPECIFIER_TEXT} characters"
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return f"{clip(text)} is not a version specifier; they look like '>=1,<2' (PEP 440)"
    return "" if text.strip() else "is empty; specifiers look like '>=1,<2' (PEP 440)"


def requirement_fault(text: str) -> str:
    """What is wrong with a PEP 508 requirement such as ``pyvisa>=1.13``, or an empty string."""
    if _plain_requirement.fullmatch(text):
        return ""
    if len(text) > MAX_REQUIREMENT_TEXT:
        return f"{clip(text)} is longer than {MAX_REQUIREMENT_TEXT} characters"
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(text)
    except InvalidRequirement:
        return f"{clip(text)} is not a requirement; they look like 'pyvisa>=1.13' (PEP 508)"
    return ""


def range_is_empty(lowest: str, highest: str) -> bool:
    """Whether no version lies between two valid versions, where a highest of 1.9 means 1.9.x.

    >>> range_is_empty("1.9.5", "1.9"), range_is_empty("2.0", "1.0")
    (False, True)
    """
    if _release.fullmatch(lowest) and _release.fullmatch(highest):
        top = [int(part) for part in highest.split(".")]
        low = [int(part) for part in lowest.split(".")]
        low += [0] * (len(top) - len(low))
        return low[: len(top)] > top
    from packaging.version import Version

    low_v, top_v = Version(lowest), Version(highest)
    if top_v.is_prerelease:
        return low_v > top_v
    length = len(top_v.release)
    padded = (*low_v.release, *([0] * length))[:length]
    return (low_v.epoch, padded) > (top_v.epoch, top_v.release)


def class_fault(text: str) -> str:
    """What is wrong with a ``driver_class``, or an empty string."""
    if _class.fullmatch(text) and not any(iskeyword(part) for part in re.split("[.:]", text)):
        return ""
    return (
        f"driver_class {clip(text)} must look like module.Class, package.module.Class or "
        "module:Outer.Inner: identifiers only, inside the plugin's own folder"
    )


def split_driver_class(text: object) -> tuple[str, str]:
    """The module and the qualified class name in a ``driver_class``.

    Raises:
        ManifestError: D001, the text is not of one of the three forms.

    >>> split_driver_class("pkg.module.Class"), split_driver_class("module:Outer.Inner")
    (('pkg.module', 'Class'), ('module', 'Outer.Inner'))
    """
    if not isinstance(text, str):
        message = f"driver_class must look like module.Class, found {kind_of(text)}"
        raise ManifestError([Diagnostic("D001", message)])
    if fault := class_fault(text):
        raise ManifestError([Diagnostic("D001", fault)])
    if ":" in text:
        module, _, qualname = text.partition(":")
    else:
        module, _, qualname = text.rpartition(".")
    return module, qualname


def clip(text: str, at_most: int = 60) -> str:
    """The text as ``repr``, cut so that a message never echoes a whole file."""
    return repr(text) if len(text) <= at_most else repr(text[:at_most]) + "..."


def kind_of(value: object) -> str:
    """What a plain value is, in the words of a manifest.

    >>> kind_of([1]), kind_of(1.1)
    ('a list', 'the number 1.1')
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return f"the text {clip(value, 40)}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"a Python {type(value).__name__}"
