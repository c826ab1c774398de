"""Stage 3: manifest -> class, one namespace per generation; and the watch for edits.

``generation`` imports plugin code, ``verify`` checks the class, ``watch`` reports edits.
"""

from drivebay._core.loader.generation import (
    NAMESPACE,
    STAND_INS,
    Files,
    Generation,
    LoadPlan,
    Stager,
    compiled_by,
    describe_failure,
    folders_of,
    hash_of,
    next_number,
    plugin_frame,
    read_files,
    retire,
    stage_generation,
)
from drivebay._core.loader.verify import drift, verify_driver
from drivebay._core.loader.watch import FolderWatch, folder_watch

__all__ = [
    "NAMESPACE",
    "STAND_INS",
    "Files",
    "FolderWatch",
    "Generation",
    "LoadPlan",
    "Stager",
    "compiled_by",
    "describe_failure",
    "drift",
    "folder_watch",
    "folders_of",
    "hash_of",
    "next_number",
    "plugin_frame",
    "read_files",
    "retire",
    "stage_generation",
    "verify_driver",
]
