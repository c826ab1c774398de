"""Parquet, through pyarrow: one row group a block, zstd.

The unit of a column is in its field's metadata (``unit``), what is known of the run in the
schema's: ``drivebay`` holds it whole as JSON, and pandas finds its ``attrs``. No value is ever
null: not-a-number stays not-a-number.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from drivebay._core.runs import frames
from drivebay._core.runs.extract import BLOCK_ROWS, Extract, needed


def write(extract: Extract, path: Path) -> None:
    """Write a run.

    Raises:
        RunError: pyarrow is not installed.
    """
    arrow = needed("pyarrow", "a Parquet file")
    files = needed("pyarrow.parquet", "a Parquet file")
    schema = _schema(arrow, extract)
    with files.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in extract.blocks():
            # The block is a row group, whatever its length; the default would be a million rows.
            writer.write_table(
                arrow.table([arrow.array(array) for array in block.values()], schema=schema),
                row_group_size=max(extract.rows, BLOCK_ROWS),
            )


def _schema(arrow: Any, extract: Extract) -> Any:
    types = {"float": arrow.float64(), "int": arrow.int64(), "bool": arrow.bool_()}
    fields = [
        arrow.field(name, types[extract.kinds[name]], nullable=False, metadata={"unit": unit})
        for name, unit in extract.units.items()
    ]
    # pandas writes and reads its attrs under this key (pandas.io.parquet, since 2.1).
    attrs = json.dumps(frames.attributes(extract.run), ensure_ascii=False)
    return arrow.schema(fields, metadata={"drivebay": extract.about_text(), "PANDAS_ATTRS": attrs})
