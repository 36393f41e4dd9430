"""Estimators by name."""

import pytest

from outsample.cli.estimators import Name, build, parse
from outsample.cumulants import Cumulants, ExactCovariance, MeanPropagation
from outsample.errors import InputError
from outsample.estimator import Estimator
from outsample.sampling import MonteCarlo, QuasiMonteCarlo


@pytest.mark.parametrize(
    ("text", "estimator"),
    [
        ("cumulants", Cumulants()),
        ("cumulants:order=1", Cumulants(1)),
        (" cumulants:order=2:variant=basic ", Cumulants(2, "basic")),
        ("mean-propagation", MeanPropagation()),
        ("exact-covariance", ExactCovariance()),
        ("MonteCarlo:samples=10:seed=3", MonteCarlo(samples=10, seed=3)),
        ("monte-carlo:samples=10:seed=3", MonteCarlo(samples=10, seed=3)),
        ("quasi-monte-carlo:seed=1", QuasiMonteCarlo(seed=1)),
        (
            "moment-matched:samples=512",
            MonteCarlo(samples=512, antithetic=True, moment_matched=True),
        ),
    ],
)
def test_descriptions_are_read(text: str, estimator: Estimator) -> None:
    assert parse(text) == estimator


@pytest.mark.parametrize("name", Name)
def test_every_name_stands_for_an_estimator(name: Name) -> None:
    assert isinstance(build(name, {}), Estimator)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "estimator '' is not known; expected one of .*Cumulants"),
        ("cumulant", "'cumulant' is not known"),
        ("cumulants:order", "not of the form"),
        ("cumulants:order=5", "order = 5; expected 1, 2, 3 or 4"),
        ("cumulants:order=two", "order = 'two'"),
        ("cumulants:variant=new", "variant = 'new'"),
        ("cumulants:samples=10", "no setting 'samples'; its settings: order, variant"),
        ("exact-covariance:order=1", "its settings: degree, hidden"),
        ("monte-carlo:samples=0", "samples = 0"),
        ("monte-carlo:seed=-1", "seed = -1"),
        ("moment-matched:samples=7", "even number"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse(text)
