"""Tilts found earlier, from which slightly different problems are solved in a step or two."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from outsample.catastrophe.tilt.events import Found
from outsample.catastrophe.tilt.law import TiltedLaw

#: Tilts of a part that are remembered, and how much less likely (in nats) they may be.
_MOST, _NEGLIGIBLE = 3, 5.0


class WarmStarts:
    """The last tilts of every event of one detector, in whitened coordinates of the inputs."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._laws: dict[Hashable, list[list[TiltedLaw]]] = {}

    def __bool__(self) -> bool:
        return bool(self._laws)

    def of(self, event: Hashable) -> Sequence[Sequence[TiltedLaw]]:
        """Where to start for an event: the laws of each of its independent parts."""
        return self._laws.get(event, ())

    def keep(self, event: Hashable, found: Found) -> None:
        """Remember the tilts of each part that matter, the likeliest first.

        Nothing good starts from tilts that ran away: these are forgotten.
        """
        if found.log.trust == "unreliable":
            self._laws.pop(event, None)
            return
        self._laws[event] = [
            [
                mode.solution.law
                for mode in part[:_MOST]
                if float(mode.log_value.detach()) >= float(part[0].log_value.detach()) - _NEGLIGIBLE
            ]
            for part in found.parts
        ]

    def forget(self) -> None:
        """Start from the inputs' own law next time."""
        self._laws.clear()

    def state_dict(self) -> dict[Any, Any]:
        """The tilts as plain tensors; :meth:`load_state_dict` takes them back."""
        return {
            event: [[(law.linear, law.precision) for law in laws] for laws in parts]
            for event, parts in self._laws.items()
        }

    def load_state_dict(self, state: Mapping[Any, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._laws = {
            event: [[TiltedLaw.of(*law) for law in laws] for laws in parts]
            for event, parts in state.items()
        }
