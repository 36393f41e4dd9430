"""The store of results: a DuckDB file with one row a cell, to which rows are only ever added.

| table | rows |
| --- | --- |
| ``cells`` | one a cell: what one method, or one sampler, did on one problem |
| ``truths`` | one a problem: its expectation as two independent halves, and its variance |
| ``provenance`` | code, versions, machine, threads, dtype: what rows share, by ``id`` |
| ``studies`` | one a study that was run into this file |
| ``results`` | a view: ``cells`` with their provenance spelled out |
"""

import hashlib
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from outsample.comparison.cells import Cell, Truth
from outsample.comparison.sweeps.connection import connect, reason
from outsample.errors import FormatError, InputError

if TYPE_CHECKING:
    import duckdb

    from outsample.comparison.result import Comparison
    from outsample.comparison.sweeps.study import Study
    from outsample.comparison.sweeps.tasks import Done

SCHEMA_VERSION = 1
#: Columns by table, as DuckDB spells their types.
COLUMNS: dict[str, dict[str, str]] = {
    "outsample_store": {"schema_version": "INTEGER"},
    "studies": {"key": "VARCHAR", "name": "VARCHAR", "study": "VARCHAR", "started": "TIMESTAMP"},
    "provenance": {"id": "VARCHAR", "record": "VARCHAR"},
    "cells": {
        "key": "VARCHAR", "family": "VARCHAR", "kind": "VARCHAR", "parameters": "VARCHAR",
        "problem": "BIGINT", "role": "VARCHAR", "method": "VARCHAR", "request": "VARCHAR",
        "value": "DOUBLE[]", "spread": "DOUBLE[]", "squared_error": "DOUBLE[]",
        "seconds": "DOUBLE", "flops": "BIGINT", "samples": "BIGINT", "trust": "VARCHAR",
        "reasons": "VARCHAR[]", "explanation_seconds": "DOUBLE", "explanation_size": "BIGINT",
        "error": "VARCHAR", "threads": "INTEGER", "provenance": "VARCHAR",
        "finished": "TIMESTAMP",
    },
    "truths": {
        "key": "VARCHAR", "family": "VARCHAR", "kind": "VARCHAR", "parameters": "VARCHAR",
        "problem": "BIGINT", "first": "DOUBLE[]", "second": "DOUBLE[]",
        "squared_error": "DOUBLE[]", "variance": "DOUBLE[]", "evaluation_flops": "DOUBLE",
        "samples": "BIGINT", "sampler": "VARCHAR", "error": "VARCHAR", "provenance": "VARCHAR",
        "finished": "TIMESTAMP",
    },
}  # fmt: skip
_RESULTS = (
    "SELECT cells.* EXCLUDE (provenance), provenance.record AS provenance "
    "FROM cells LEFT JOIN provenance ON cells.provenance = provenance.id"
)


class Store:
    """A file of results, or one in memory.

    Every call of :meth:`add` is one transaction: whatever happens to the process afterwards,
    the rows are in the file, and a file is never left half written.  One process at a time may
    write.  Close it, or use it as a context manager.

    Args:
        path: a DuckDB file, made if it does not exist; ``":memory:"`` for none.
        read_only: whether to open it for reading only.

    Raises:
        ImportError: if DuckDB is not installed; the message says how to get it.
        InputError: if another process has it open, or the file cannot be read or written.
        FormatError: if it is not a store of outsample, or was made by a newer version.

    Example:
        >>> with Store(":memory:") as store:
        ...     store.keys()
        set()
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = os.fspath(path)
        self._read_only = read_only
        self._known: set[str] = set()
        if os.path.isdir(self.path):
            raise InputError(f"store {self.path!r} is a folder; expected a file")
        if self.path != ":memory:" and not _holds_something(self.path):
            if read_only:
                raise InputError(f"store {self.path!r} does not exist, or is empty")
            _make(self.path)
        self._connection = connect(self.path, read_only)
        try:
            if self.path == ":memory:":
                _create_tables(self._connection)
            self._check()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Close the file; what was added is in it."""
        # A file on a full disk cannot be tidied up; its rows are safe in the log beside it.
        with suppress(Exception):
            self._connection.close()

    def keys(self, *, failures: bool = True) -> set[str]:
        """Keys of the tasks whose results are here, with or without those that failed."""
        # Of a task that was run again, the last run counts; its rows share their time.
        last = "GROUP BY key, finished QUALIFY finished = max(finished) OVER (PARTITION BY key)"
        counted = f"SELECT key, count(error) AS failed FROM {{}} {last}"
        rows = self._rows(f"{counted.format('cells')} UNION {counted.format('truths')}")
        return {key for key, failed in rows if failures or not failed}

    def begin(self, study: "Study") -> None:
        """Note that a study is run into this store; once is enough."""
        row = (study.key, study.name, json.dumps(study.to_dict()), _now())
        with self._transaction():
            if not self._rows("SELECT 1 FROM studies WHERE key = ?", [study.key]):
                self._insert("studies", [row])

    def add(self, done: Sequence["Done"]) -> None:
        """Add the results of tasks, in one transaction.

        Raises:
            InputError: if they cannot be written (disk full, folder gone); nothing of them is
                then in the store, and all that was added before is.
        """
        cells: list[Sequence[Any]] = []
        truths: list[Sequence[Any]] = []
        records: dict[str, str] = {}
        for result in done:
            now = _now()
            record = json.dumps(dict(result.provenance), sort_keys=True)
            mark = hashlib.sha256(record.encode()).hexdigest()[:16]
            records[mark] = record
            threads = int(result.provenance.get("threads", 1))
            shared = (result.key, result.family, result.kind, json.dumps(dict(result.parameters)))
            if result.truth is not None:
                truths.append((*shared, *_truth_row(result.truth), mark, now))
            for cell in result.cells:
                cells.append((*shared, *_cell_row(cell, result.role), threads, mark, now))
        new = {mark: record for mark, record in records.items() if mark not in self._known}
        with self._transaction():
            self._insert("provenance", list(new.items()))
            self._insert("cells", cells)
            self._insert("truths", truths)
        self._known |= new.keys()

    def comparisons(self, study: "Study | None" = None) -> list["Comparison"]:
        """What is here as comparisons: one for each family (with its settings) and thread count.

        Where a cell was computed more than once, the last one counts; where a problem has several
        truths, the one with most samples.

        Args:
            study: a study, to leave out what does not belong to it.
        """
        from outsample.comparison.sweeps.reading import comparisons

        return comparisons(self, study)

    def studies(self) -> list[dict[str, Any]]:
        """The studies that were run into this store, oldest first."""
        rows = self._rows("SELECT study FROM studies ORDER BY started")
        return [json.loads(row[0]) for row in rows]

    def count(self) -> int:
        """Number of cells."""
        return int(self._rows("SELECT count(*) FROM cells")[0][0])

    def select(self, table: str, where: str, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Rows of one table, in the order in which they were added."""
        names = list(COLUMNS[table])
        shown = ", ".join(f'"{name}"' for name in names)
        rows = self._rows(f"SELECT {shown} FROM {table} WHERE {where} ORDER BY rowid", values)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def families(self) -> list[tuple[str, int]]:
        """Names of families and the thread counts that they were run with."""
        rows = self._rows(
            "SELECT family, threads FROM cells GROUP BY family, threads ORDER BY min(rowid)"
        )
        return [(str(family), int(threads)) for family, threads in rows]

    def records(self, marks: set[str]) -> list[str]:
        """Provenance records (JSON) by their marks."""
        return [
            r
            for m, r in self._rows("SELECT id, record FROM provenance ORDER BY rowid")
            if m in marks
        ]

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write every cell with its provenance to a Parquet or CSV file.

        Args:
            path: a name that ends in .parquet or .csv; the file appears when it is complete.

        Raises:
            InputError: for another ending, or a place that cannot be written to.
        """
        target = Path(path)
        if target.suffix not in (".parquet", ".csv"):
            raise InputError(f"cannot export to {str(path)!r}; expected a name in .parquet or .csv")
        if not target.parent.is_dir():
            raise InputError(
                f"cannot write {str(path)!r}: there is no folder {str(target.parent)!r}"
            )
        partial = target.with_name(f".{target.stem}.{os.getpid()}.tmp{target.suffix}")
        form = "FORMAT PARQUET" if target.suffix == ".parquet" else "FORMAT CSV, HEADER"
        quoted = str(partial.absolute()).replace("'", "''")
        try:
            with self._reaching(target.parent):
                self._run(f"COPY ({_RESULTS} ORDER BY cells.rowid) TO '{quoted}' ({form})")
            os.replace(partial, target)
        except OSError as error:
            raise InputError(f"cannot write {str(path)!r}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _reaching(self, folder: Path) -> Generator[None]:
        """Let DuckDB write into ``folder`` while the block runs."""
        if self.path == ":memory:":  # holds nothing but our own rows, and reaches everywhere
            yield
            return
        self.close()
        self._connection = connect(self.path, self._read_only, folder)
        try:
            yield
        finally:
            self.close()
            self._connection = connect(self.path, self._read_only)

    def _check(self) -> None:
        """Refuse what is not a store, before anything in it is believed."""
        found: dict[str, dict[str, str]] = {}
        for table, name, kind in self._rows(
            "SELECT c.table_name, c.column_name, c.data_type FROM information_schema.columns c "
            "JOIN information_schema.tables t USING (table_schema, table_name) "
            "WHERE t.table_type = 'BASE TABLE'"
        ):
            found.setdefault(table, {})[name] = kind
        if "outsample_store" not in found:
            raise FormatError(f"store {self.path!r} is a DuckDB file, but not one of outsample")
        version = self._rows("SELECT max(schema_version) FROM outsample_store")[0][0]
        if version != SCHEMA_VERSION or any(found.get(t) != c for t, c in COLUMNS.items()):
            raise FormatError(
                f"store {self.path!r} has schema version {version} and tables that this version "
                f"of outsample does not read (it reads version {SCHEMA_VERSION})"
            )
        self._known = {row[0] for row in self._rows("SELECT id FROM provenance")}

    @contextmanager
    def _transaction(self) -> Generator[None]:
        """All of the block, or none of it."""
        self._run("BEGIN")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(InputError):  # a failed transaction may be over already
                self._run("ROLLBACK")
            raise

    def _insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            marks = ", ".join("?" for _ in COLUMNS[table])
            self._run(f"INSERT INTO {table} VALUES ({marks})", rows)

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._run(query, [values] if values else None)
        return self._connection.fetchall()

    def _run(self, query: str, rows: Sequence[Sequence[Any]] | None = None) -> None:
        import duckdb

        try:
            if rows is None:
                self._connection.execute(query)
            else:
                for row in rows:
                    self._connection.execute(query, row)
        except duckdb.Error as error:
            if query.startswith("SELECT"):
                raise FormatError(f"store {self.path!r} is damaged: {reason(error)}") from error
            raise InputError(
                f"store {self.path!r} cannot be written: {reason(error)}. What was added before "
                "is safe; make room and run it again"
            ) from error


def _holds_something(path: str) -> bool:
    return os.path.exists(path) and os.path.getsize(path) > 0


def _make(path: str) -> None:
    """Put a complete empty store in place, so that no half-made one is ever seen."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}.tmp")
    try:
        temporary.touch()  # says what is wrong with a folder that may not be written to
        temporary.unlink()
        connection = connect(str(temporary), read_only=False)
        try:
            _create_tables(connection)
        finally:
            connection.close()
        if _holds_something(path):
            return  # another process was faster
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"store {path!r} cannot be made: {error.strerror}") from error
    finally:
        for left in (temporary, temporary.with_name(temporary.name + ".wal")):
            left.unlink(missing_ok=True)


def _create_tables(connection: "duckdb.DuckDBPyConnection") -> None:
    for table, columns in COLUMNS.items():
        listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(f"CREATE TABLE {table} ({listed})")
    connection.execute(f"CREATE VIEW results AS {_RESULTS}")
    connection.execute("INSERT INTO outsample_store VALUES (?)", [SCHEMA_VERSION])


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _cell_row(cell: Cell, role: str) -> tuple[Any, ...]:
    return (
        cell.problem, role, cell.method, json.dumps(dict(cell.request), default=repr),
        list(cell.value), list(cell.spread),
        None if cell.squared_error is None else list(cell.squared_error),
        None if cell.seconds != cell.seconds else cell.seconds,
        cell.flops, cell.samples, cell.trust, list(cell.reasons),
        cell.explanation_seconds, cell.explanation_size, cell.error,
    )  # fmt: skip


def _truth_row(truth: Truth) -> tuple[Any, ...]:
    flops = truth.evaluation_flops
    return (
        truth.problem, list(truth.first), list(truth.second), list(truth.squared_error),
        list(truth.variance), None if flops != flops else flops, truth.samples,
        json.dumps(dict(truth.sampler), default=repr), truth.error,
    )  # fmt: skip
