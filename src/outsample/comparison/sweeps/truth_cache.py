"""Truths, shared between studies: a folder with one JSON file a truth, named by its content."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from outsample.comparison.cells import Truth
from outsample.comparison.sweeps.tasks import Done, Task
from outsample.errors import InputError, OutsampleWarning, warn
from outsample.files import write_atomically

#: Names the folder, in place of the default one; empty for no cache at all.
VARIABLE = "OUTSAMPLE_CACHE"


class TruthCache:
    """A folder of truths.

    Args:
        folder: where; by default what ``OUTSAMPLE_CACHE`` names, else ``outsample/truths`` in the
            user's cache folder.  An empty ``OUTSAMPLE_CACHE`` means no cache.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        given = os.environ.get(VARIABLE) if folder is None else os.fspath(folder)
        if given is None:
            home = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
            given = os.path.join(home, "outsample", "truths")
        self.folder = Path(given) if given else None

    def find(self, task: Task) -> Done | None:
        """The result of ``task`` if it is here and sound."""
        if self.folder is None:
            return None
        try:
            found: Any = json.loads((self.folder / f"{task.key}.json").read_text())
            truth = Truth(**{k: _tuples(v) for k, v in found["truth"].items()})
            if truth.problem != task.problem or not truth.first:
                return None
            return task.done(((), truth), dict(found["provenance"]))
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None  # absent, or damaged: it is computed again

    def keep(self, done: Done) -> None:
        """Keep a truth that did not fail; a folder that cannot be written to is given up."""
        if self.folder is None or done.truth is None or done.failed:
            return
        record = {"truth": asdict(done.truth), "provenance": dict(done.provenance)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / f"{done.key}.json", json.dumps(record))
        except (OSError, InputError) as error:
            warn(f"truths are not kept for other studies: {error}", OutsampleWarning)
            self.folder = None


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
