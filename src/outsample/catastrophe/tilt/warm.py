"""Tilts found earlier, from which slightly different problems are solved in a step or two."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from outsample.catastrophe.tilt.events import Found
from outsample.catastrophe.tilt.law import TiltedLaw


class WarmStarts:
    """The last tilt of every event of one detector, in whitened coordinates of the inputs."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._laws: dict[Hashable, list[TiltedLaw]] = {}

    def __bool__(self) -> bool:
        return bool(self._laws)

    def of(self, event: Hashable) -> Sequence[TiltedLaw]:
        """Where to start for an event: one law for each of its independent parts."""
        return self._laws.get(event, ())

    def keep(self, event: Hashable, found: Found) -> None:
        """Remember the likeliest tilt of each part."""
        self._laws[event] = [part[0].solution.law for part in found.parts]

    def forget(self) -> None:
        """Start from the inputs' own law next time."""
        self._laws.clear()

    def state_dict(self) -> dict[Any, Any]:
        """The tilts as plain tensors; :meth:`load_state_dict` takes them back."""
        return {
            event: [(law.mean.clone(), law.precision.clone()) for law in laws]
            for event, laws in self._laws.items()
        }

    def load_state_dict(self, state: Mapping[Any, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._laws = {
            event: [TiltedLaw(mean, precision) for mean, precision in laws]
            for event, laws in state.items()
        }
