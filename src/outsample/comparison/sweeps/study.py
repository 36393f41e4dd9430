"""A study: which estimators on which problems, with how much sampling behind the truth."""

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Self, cast

from outsample.comparison.cells import Method
from outsample.comparison.families import Fixed
from outsample.comparison.methods import pair_of
from outsample.comparison.sweeps.tasks import Estimating, FindingTruth, MeasuringOpponents, Task
from outsample.errors import InputError
from outsample.estimator import Estimator, Explainer, positive_integer
from outsample.problem import Family, Problem

#: Evaluations of a problem behind each half of its truth.
TRUTH_SAMPLES = 2**18
#: Most cells of one study.
_MOST_CELLS = 10_000_000
#: In the text of objects that do not say what they are.
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class AtBudget:
    """An estimator with the settings that the matching sampling principle allows it.

    On every problem the estimator is ``estimator.at(ε, problem)`` with ε = 1/√samples, so that
    it may cost as much as ``samples`` evaluations; see :meth:`outsample.Estimator.at`.

    Args:
        estimator: the class of the estimator.
        samples: the budget N = 1/ε², at least 1.
        settings: settings to put in place of those that ``at`` chooses.
        explainer: who explains every problem to it, if anyone.

    Raises:
        InputError: if something is not what it must be.
    """

    estimator: type[Estimator]
    samples: float
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    explainer: Explainer | None = None

    def __post_init__(self) -> None:
        given = cast(object, self.estimator)
        if not (isinstance(given, type) and issubclass(given, Estimator)):
            raise InputError(f"AtBudget: estimator = {given!r}; expected a class of estimators")
        if not 1 <= self.samples < math.inf:
            raise InputError(f"AtBudget: samples = {self.samples!r}; expected a number N >= 1")
        names = [f.name for f in dataclasses.fields(self.estimator)]
        for setting in self.settings:
            if setting not in names:
                raise InputError(
                    f"AtBudget: {self.estimator.__name__} has no setting {setting!r}; its "
                    f"settings: {', '.join(names) or 'none'}"
                )

    @property
    def name(self) -> str:
        """Name in tables: estimator, fixed settings and budget."""
        shown = ", ".join(f"{k}={v}" for k, v in self.settings.items())
        fixed = f"({shown})" if shown else ""
        advised = "" if self.explainer is None else f" with {self.explainer!r}"
        return f"{self.estimator.__name__}{fixed} at N={self.samples:.12g}{advised}"

    def method(self, problem: Problem) -> Method:
        """The estimator that this budget allows on ``problem``."""
        found = self.estimator.at(1 / math.sqrt(self.samples), problem)
        return Method(self.name, dataclasses.replace(found, **self.settings), self.explainer)

    def to_dict(self) -> dict[str, Any]:
        """The request: the estimator's name, the budget, settings and the explainer in words."""
        explainer = None if self.explainer is None else repr(self.explainer)
        return {
            "method": self.estimator.__name__,
            "samples": float(self.samples),
            "settings": {k: _plain(v) for k, v in self.settings.items()},
            "explainer": explainer,
        }


Entry = Estimator | tuple[Estimator, Explainer] | Method | AtBudget


@dataclass(frozen=True)
class Study:
    """Families × estimators × seeds, to be run by :func:`~outsample.comparison.sweeps.sweep`.

    Args:
        name: name of the study.
        families: families of problems, with different names.
        methods: estimators, pairs (estimator, explainer), or :class:`AtBudget`.
        seeds: seeds of the problems; of a ``Fixed`` family only those that it has problems for.
        truth_samples: evaluations for each of the two halves of a sampled truth, even.
        baselines: whether to measure the samplers as well.
        threads: threads of every estimator and sampler.

    Raises:
        InputError: for empty lists, entries of another kind, anything listed twice, or numbers
            out of range.

    Example:
        >>> import outsample as ou
        >>> study = Study(
        ...     "orders", [ou.families.RandomMLP(8, 1)], [ou.Cumulants(1), ou.Cumulants(2)]
        ... )
        >>> print(*(method.name for method in study.methods))
        Cumulants(1) Cumulants(2)
    """

    name: str
    families: Sequence[Family]
    methods: Sequence[Entry]
    seeds: Sequence[int] = range(10)
    truth_samples: int = TRUTH_SAMPLES
    baselines: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("families", "methods", "seeds"):
            given = cast(object, getattr(self, name))
            if not isinstance(given, Sequence) or isinstance(given, str) or not given:
                raise InputError(f"Study: {name} = {given!r}; expected a list, not empty")
        for family in self.families:
            if not isinstance(cast(object, family), Family):
                raise InputError(f"Study: families holds {family!r}; expected a Family")
        for seed in self.seeds:
            integer = isinstance(cast(object, seed), int) and not isinstance(seed, bool)
            if not (integer and 0 <= seed < 2**63):
                raise InputError(
                    f"Study: seeds holds {seed!r}; expected integers of at least 0, below 2**63"
                )
        positive_integer("Study", "truth_samples", self.truth_samples)
        positive_integer("Study", "threads", self.threads)
        if self.truth_samples % 2:
            raise InputError(
                f"Study: truth_samples = {self.truth_samples}; expected an even number"
            )
        object.__setattr__(self, "methods", tuple(_method(entry) for entry in self.methods))
        for method in cast(Sequence[Method | AtBudget], self.methods):
            if _ADDRESS.search(repr(method.to_dict())):
                raise InputError(
                    f"Study: {method.name} is described by an address in memory, by which no "
                    "later run would know it; give what it consists of a __repr__ (a dataclass "
                    "has one)"
                )
        object.__setattr__(self, "families", tuple(self.families))
        object.__setattr__(self, "seeds", tuple(self.seeds))
        _refuse_doubles("families", [family.name for family in self.families])
        _refuse_doubles("methods", [cast(Method, method).name for method in self.methods])
        _refuse_doubles("seeds", [str(seed) for seed in self.seeds])
        if self.size > _MOST_CELLS:
            raise InputError(f"Study: {self.size} cells; expected at most {_MOST_CELLS}")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a study file, TOML or YAML; see :mod:`outsample.comparison.sweeps.study_file`.

        Raises:
            ImportError: if Pydantic or PyYAML is not installed.
            FormatError: if the file is not TOML or YAML, or too large.
            InputError: if it cannot be read, or does not describe a study; the message names the
                place in the file.
        """
        try:
            from outsample.comparison.sweeps.study_file import read_study
        except ImportError as error:
            raise ImportError(
                "study files need Pydantic and PyYAML, which are not installed: "
                "pip install 'outsample[compare]'"
            ) from error
        return read_study(path, cls)

    @property
    def size(self) -> int:
        """Number of cells, truths included and the samplers of one problem counted as one."""
        problems = sum(len(self.seeds_of(family)) for family in self.families)
        return problems * (len(self.methods) + 1 + self.baselines)

    def seeds_of(self, family: Family) -> Sequence[int]:
        """The seeds of the problems of one family; each problem of a ``Fixed`` family once."""
        if isinstance(family, Fixed):
            return [seed for seed in self.seeds if seed < family.size]
        return self.seeds

    def tasks(self) -> Iterator[Task]:
        """Everything there is to do, so ordered that early results cover all families."""
        for i, family in product(range(len(self.seeds)), self.families):
            seeds = self.seeds_of(family)
            if i >= len(seeds):
                continue
            works = [
                FindingTruth(self.truth_samples),
                *[Estimating(cast(Method | AtBudget, method)) for method in self.methods],
                # Other batch sizes only add timings: one problem is enough.
                *([MeasuringOpponents(other_batches=i == 0)] if self.baselines else []),
            ]
            for work in works:
                yield Task(family, seeds[i], work, self.threads)

    def to_dict(self) -> dict[str, Any]:
        """The study as plain numbers, strings, lists and dictionaries."""
        return {
            "schema_version": 1,
            "name": self.name,
            "families": [
                {"name": f.name, "kind": type(f).__name__, "parameters": f.parameters()}
                for f in self.families
            ],
            "methods": [
                {"name": m.name, **m.to_dict()} for m in cast(Sequence[Method], self.methods)
            ],
            "seeds": list(self.seeds),
            "truth_samples": self.truth_samples,
            "baselines": self.baselines,
            "threads": self.threads,
        }

    @property
    def key(self) -> str:
        """A digest of the whole study: equal studies have equal keys."""
        text = json.dumps(self.to_dict(), sort_keys=True, default=repr)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def _method(entry: Entry) -> Method | AtBudget:
    if isinstance(entry, Method | AtBudget):
        return entry
    pair = pair_of("Study: methods", entry)
    return Method(_name(*pair), *pair)


def _name(estimator: Estimator, explainer: Explainer | None) -> str:
    """Class name with its first setting (an order, a size) and those not at their defaults.

    It does not depend on what else is in a study, so that stores can hold several.
    """
    shown: list[str] = []
    positional = True
    for i, setting in enumerate(dataclasses.fields(estimator)):
        value = getattr(estimator, setting.name)
        leading = i == 0 and not isinstance(value, bool)
        if value != setting.default or leading:
            shown.append(str(value) if positional else f"{setting.name}={value}")
        else:
            positional = False
    advised = "" if explainer is None else f" with {explainer!r}"
    return f"{type(estimator).__name__}({', '.join(shown)}){advised}"


def _refuse_doubles(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        raise InputError(f"Study: {what} holds {double} {names.count(double)} times")


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else repr(value)
