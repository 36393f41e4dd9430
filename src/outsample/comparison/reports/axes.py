"""Which settings of a kind of family vary, and so are filters of the page and axes of its maps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from outsample.comparison.result import Comparison

#: Settings that come first, as the axes of a heat map.
_FIRST = ("width", "depth")
#: Stands for the whole family where settings do not tell families apart.
FAMILY = "family"


def settings_of(comparison: Comparison) -> dict[str, Any]:
    """The settings of a family as plain numbers and text, with its name as one of them."""
    settings = {str(k): plain(v) for k, v in comparison.parameters.items()}
    return settings | {FAMILY: comparison.family}


def plain(value: Any) -> bool | int | float | str | None:
    """A setting as JSON can hold it; what is no text or finite number is shown as Python does."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def varying(comparisons: Sequence[Comparison]) -> dict[str, list[str]]:
    """For each kind of family the settings that vary: two axes first, width and depth if they do.

    Where they do not tell two families of a kind apart, the families' names are added.
    """
    kinds: dict[str, list[dict[str, Any]]] = {}
    for comparison in comparisons:
        kinds.setdefault(comparison.kind, []).append(settings_of(comparison))
    return {kind: _varying(families) for kind, families in kinds.items()}


def _varying(families: list[dict[str, Any]]) -> list[str]:
    keys = [key for key in dict.fromkeys(k for f in families for k in f) if key != FAMILY]
    found = [key for key in keys if len({repr(f.get(key)) for f in families}) > 1]
    found.sort(key=lambda key: (_place(key), not _numeric(families, key)))
    distinct = {tuple(repr(f.get(key)) for key in found) for f in families}
    return found if len(distinct) == len(families) else [*found, FAMILY]


def _place(key: str) -> int:
    return _FIRST.index(key) if key in _FIRST else len(_FIRST)


def _numeric(families: Sequence[Mapping[str, Any]], key: str) -> bool:
    return all(isinstance(f.get(key), int | float) for f in families)
