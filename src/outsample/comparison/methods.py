"""Entries of a comparison: an estimator, or an estimator and who explains problems to it."""

from typing import cast

from outsample.errors import InputError
from outsample.estimator import Estimator, Explainer

Pair = tuple[Estimator, Explainer | None]


def pair_of(owner: str, entry: object) -> Pair:
    """Check one entry of a list of estimators.

    Args:
        owner: whose list it is, and its name, for the message.
        entry: an estimator, or a pair (estimator, explainer).

    Raises:
        InputError: if it is anything else.
    """
    pair = cast(tuple[object, ...], entry) if isinstance(entry, tuple) else (entry, None)
    if len(pair) != 2 or not isinstance(pair[0], Estimator):
        raise InputError(
            f"{owner} holds {entry!r}; expected an estimator such as Cumulants(order=2), or a "
            "pair (estimator, explainer)"
        )
    if pair[1] is not None and not isinstance(pair[1], Explainer):
        raise InputError(f"{owner} pairs {pair[0]!r} with {pair[1]!r}; expected an Explainer")
    return pair[0], pair[1]
