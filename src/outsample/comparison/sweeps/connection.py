"""Opening DuckDB files: with limits, closed to the outside, and with messages of our own."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outsample.errors import FormatError, InputError

if TYPE_CHECKING:
    import duckdb

#: What DuckDB may use besides the rows it hands over.
_MEMORY = "1GB"


def connect(path: str, read_only: bool, folder: Path | None = None) -> "duckdb.DuckDBPyConnection":
    """Open a file, which is made if it does not exist.

    Args:
        path: the file, or ``":memory:"``.
        read_only: whether to open it for reading only.
        folder: a folder that DuckDB may write to besides.

    Raises:
        ImportError: if DuckDB is not installed.
        InputError: if the file is open elsewhere, or cannot be opened.
        FormatError: if it is not a DuckDB file.
    """
    try:
        import duckdb
    except ImportError as error:
        raise ImportError(
            "stores of results need DuckDB, which is not installed: "
            "pip install 'outsample[compare]'"
        ) from error
    # A stranger's file must not reach beyond itself, through views, macros or extensions.
    config: dict[str, Any] = {
        "threads": 1,
        "memory_limit": _MEMORY,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        connection = duckdb.connect(path, read_only=read_only, config=config)
        if folder is not None:
            connection.execute("SET allowed_directories = ?", [[str(folder.absolute())]])
        if path != ":memory:":
            connection.execute("SET enable_external_access = false")
        return connection
    except duckdb.Error as error:
        text = str(error)
        if "lock" in text:
            holder = re.search(r"PID (\d+)", text)
            who = f"process {holder[1]}" if holder else "another process"
            raise InputError(
                f"store {path!r} is being written by {who}; wait until it has finished"
            ) from error
        if "different configuration" in text:
            raise InputError(
                f"store {path!r} is open in this process already; close that connection first"
            ) from error
        if "not a valid DuckDB" in text or "Serialization" in text:
            raise FormatError(f"store {path!r} is not a DuckDB file") from error
        raise InputError(f"store {path!r} cannot be opened: {reason(error)}") from error


def reason(error: Exception) -> str:
    """DuckDB's message without its stack and links."""
    return str(error).strip().splitlines()[0].removesuffix(".")
