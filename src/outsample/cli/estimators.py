"""Estimators by the names they have on the command line."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from outsample.errors import InputError

if TYPE_CHECKING:
    from outsample.estimator import Estimator


class Name(StrEnum):
    """The estimators that commands know."""

    CUMULANTS = "cumulants"
    MEAN_PROPAGATION = "mean-propagation"
    EXACT_COVARIANCE = "exact-covariance"
    MONTE_CARLO = "monte-carlo"
    MOMENT_MATCHED = "moment-matched"
    QUASI_MONTE_CARLO = "quasi-monte-carlo"


_SAMPLING = ("samples", "seed")
_SETTINGS: dict[Name, tuple[str, ...]] = {
    Name.CUMULANTS: ("order", "variant"),
    Name.MEAN_PROPAGATION: (),
    Name.EXACT_COVARIANCE: (),
    Name.MONTE_CARLO: _SAMPLING,
    Name.MOMENT_MATCHED: _SAMPLING,
    Name.QUASI_MONTE_CARLO: _SAMPLING,
}


def build(name: Name, settings: Mapping[str, int | str]) -> "Estimator":
    """The estimator of that name; settings left out have their defaults.

    Raises:
        InputError: for a setting that this estimator does not have, or a value out of range.
    """
    from outsample import cumulants, sampling

    for setting in settings:
        if setting not in _SETTINGS[name]:
            known = ", ".join(_SETTINGS[name]) or "none"
            raise InputError(f"{name} has no setting {setting!r}; its settings: {known}")
    given: dict[str, object] = dict(settings)
    match name:
        case Name.CUMULANTS:
            return cumulants.Cumulants(**given)  # pyright: ignore[reportArgumentType]
        case Name.MEAN_PROPAGATION:
            return cumulants.MeanPropagation()
        case Name.EXACT_COVARIANCE:
            return cumulants.ExactCovariance()
        case Name.MONTE_CARLO:
            return sampling.MonteCarlo(**given)  # pyright: ignore[reportArgumentType]
        case Name.MOMENT_MATCHED:
            given |= {"antithetic": True, "moment_matched": True}
            return sampling.MonteCarlo(**given)  # pyright: ignore[reportArgumentType]
        case Name.QUASI_MONTE_CARLO:
            return sampling.QuasiMonteCarlo(**given)  # pyright: ignore[reportArgumentType]


def parse(text: str) -> "Estimator":
    """The estimator, ours or a plug-in's, that ``NAME:SETTING=VALUE:…`` describes.

    Example:
        >>> parse("cumulants:order=2:variant=basic").variant
        'basic'

    Raises:
        InputError: for names and settings that are not known, and values out of range.
    """
    from outsample.comparison.sweeps.registry import parse_estimator

    name, colon, settings = text.strip().partition(":")
    if name == Name.MOMENT_MATCHED:
        name = "monte-carlo:antithetic=true:moment_matched=true"
    return parse_estimator(name + colon + settings)
