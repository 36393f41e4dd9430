"""Studies that are quick to run, and what of their results does not depend on time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from tests.comparison.toys import Quadratics, Shifted

import outsample as ou
from outsample.comparison.sweeps import Store, Study
from outsample.estimator import Explanation

#: What depends on the moment and not on the study.
_TIMES = ("seconds", "explanation_seconds", "finished")


@dataclass(frozen=True)
class Slow(Shifted):
    """Takes a while."""

    nap: float = 0.001

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        time.sleep(self.nap)
        return super()._estimate(problem, explanation)


@dataclass(frozen=True)
class Fatal(Shifted):
    """Takes the process with it on problem 1."""

    mechanistic: ClassVar[bool] = False

    def _estimate(self, problem: ou.Problem, explanation: Explanation | None) -> ou.Estimate:
        import os
        import signal

        if torch.equal(problem.tensors()[0], Quadratics().problem(1).tensors()[0]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._estimate(problem, explanation)


@dataclass(frozen=True)
class Peeking(Shifted):
    """Does its work where settings are found."""

    @classmethod
    def at(cls, epsilon: float, problem: ou.Problem) -> "Peeking":
        square = torch.ones(30, 30)
        return cls(0.0 * float((square @ square).sum()))


@dataclass(frozen=True)
class Drawing(Shifted):
    """Draws where settings are found."""

    @classmethod
    def at(cls, epsilon: float, problem: ou.Problem) -> "Drawing":
        return cls(float(torch.rand(())))


def study(
    methods: Sequence[ou.Estimator] = (Shifted(0.1), Shifted(0.2), Slow(0.3)),
    seeds: Sequence[int] = range(6),
    **settings: Any,
) -> Study:
    """A study of quadratic problems."""
    settings = {"truth_samples": 1024, "baselines": False} | settings
    return Study("quick", [Quadratics(known=False)], methods, seeds, **settings)


def contents(store: Store) -> tuple[list[Any], list[Any]]:
    """Every cell and truth, times left out, in an order that does not depend on the run."""
    return tuple(
        sorted(
            ({k: v for k, v in row.items() if k not in _TIMES} for row in rows), key=repr
        )
        for rows in (store.select("cells", "true", []), store.select("truths", "true", []))
    )  # type: ignore[return-value]  # fmt: skip
