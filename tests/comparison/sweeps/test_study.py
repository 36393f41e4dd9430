"""Studies: what they hold, what is refused, which tasks they stand for."""

import pickle
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.comparison.sweeps.cases import study
from tests.comparison.toys import Advised, Quadratics, Shifted, Teacher

import outsample as ou
from outsample.comparison.sweeps import AtBudget, Study
from outsample.comparison.sweeps.tasks import Estimating, FindingTruth, MeasuringOpponents
from outsample.estimator import Explainer

FAMILY = Quadratics()


def names(of: Study) -> list[str]:
    return [method.name for method in of.methods]  # type: ignore[union-attr]


class TestNames:
    def test_say_what_differs_from_the_defaults(self) -> None:
        methods = [
            ou.Cumulants(2),
            ou.Cumulants(2, "basic"),
            ou.Cumulants(3, tolerance=0.0),
            ou.MeanPropagation(),
            ou.MonteCarlo(64, antithetic=True),
        ]
        assert names(study(methods)) == [
            "Cumulants(2)",
            "Cumulants(2, basic)",
            "Cumulants(3, tolerance=0.0)",
            "MeanPropagation()",
            "MonteCarlo(64, antithetic=True)",
        ]

    def test_do_not_depend_on_what_else_is_there(self) -> None:
        alone = names(study([ou.Cumulants(2)]))
        assert names(study([ou.Cumulants(2), ou.Cumulants(2, "basic")]))[:1] == alone

    def test_name_the_explainer(self) -> None:
        assert names(study([(Advised(), Teacher(0.3))])) == ["Advised(0.0) with Teacher(shift=0.3)"]

    def test_name_the_budget(self) -> None:
        methods = [
            AtBudget(ou.Cumulants, 100),
            AtBudget(ou.Cumulants, 1e6, {"variant": "basic"}, ou.PairExplainer(8)),
        ]
        assert names(study(methods)) == [
            "Cumulants at N=100",
            "Cumulants(variant=basic) at N=1000000 with PairExplainer(pairs=8)",
        ]


class Unnamed(Explainer):
    """Says nothing about itself but its address."""

    def explain(self, problem: ou.Problem) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class WithFunction(Shifted):
    """A setting that has no name."""

    function: Any = None


MANY = [Shifted(i / 4000) for i in range(4000)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"families": []}, r"families = \[\]; expected a list, not empty"),
        ({"families": FAMILY}, "families = Quadratics.*expected a list"),
        ({"families": "RandomMLP"}, "families = 'RandomMLP'; expected a list"),
        ({"families": [FAMILY, 3]}, "families holds 3; expected a Family"),
        ({"families": [FAMILY, FAMILY]}, "families holds quadratics 2 times"),
        ({"methods": []}, r"methods = \[\]"),
        ({"methods": [ou.Cumulants]}, "methods holds .*Cumulants.*expected an estimator"),
        ({"methods": [(Shifted(), 3)]}, "methods pairs .* with 3; expected an Explainer"),
        ({"methods": [(Shifted(), Teacher(1), 3)]}, "methods holds"),
        ({"methods": [Shifted(0.1), Shifted(0.1)]}, r"methods holds Shifted\(0.1\) 2 times"),
        ({"methods": [(Advised(), Unnamed())]}, "address in memory"),
        ({"methods": [WithFunction(function=lambda: 0)]}, "address in memory"),
        ({"seeds": []}, r"seeds = \[\]"),
        ({"seeds": range(0)}, "seeds = range"),
        ({"seeds": 3}, "seeds = 3; expected a list"),
        ({"seeds": [0, -1]}, "seeds holds -1"),
        ({"seeds": [True]}, "seeds holds True"),
        ({"seeds": [0.5]}, "seeds holds 0.5"),
        ({"seeds": [2**63]}, "below 2\\*\\*63"),
        ({"seeds": [1, 2, 1]}, "seeds holds 1 2 times"),
        ({"seeds": range(4000), "methods": MANY}, "16004000 cells; expected at most"),
        ({"truth_samples": 7}, "truth_samples = 7; expected an even"),
        ({"truth_samples": 0}, "truth_samples = 0"),
        ({"truth_samples": 2.0}, "truth_samples = 2.0"),
        ({"threads": 0}, "threads = 0"),
    ],
)
def test_bad_studies(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ou.InputError, match=f"^Study: .*{reason}"):
        replace(study([Shifted()]), **changes)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((Shifted(), 16), "expected a class of estimators"),
        ((Quadratics, 16), "expected a class of estimators"),
        ((Shifted, 0), "samples = 0"),
        ((Shifted, float("nan")), "samples = nan"),
        ((Shifted, float("inf")), "samples = inf"),
        ((Shifted, 16, {"shft": 1}), "Shifted has no setting 'shft'; its settings: shift"),
    ],
)
def test_bad_budgets(arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(ou.InputError, match=f"^AtBudget: .*{reason}"):
        AtBudget(*arguments)


class TestTasks:
    def test_are_truth_methods_and_samplers_of_every_problem(self) -> None:
        of = study([Shifted(0.1), Shifted(0.2)], seeds=[3, 5], baselines=True)
        tasks = list(of.tasks())
        assert len(tasks) == of.size == 2 * 4
        kinds = [FindingTruth, Estimating, Estimating, MeasuringOpponents]
        assert [type(task.work) for task in tasks] == kinds * 2
        assert [task.problem for task in tasks] == [3] * 4 + [5] * 4

    def test_early_ones_cover_all_families(self) -> None:
        families = [Quadratics(name="a"), Quadratics(name="b")]
        tasks = list(replace(study([Shifted()]), families=families).tasks())
        assert [t.family.name for t in tasks[:4]] == ["a", "a", "b", "b"]
        assert {t.problem for t in tasks[:4]} == {0}

    def test_other_batches_are_timed_on_one_problem(self) -> None:
        tasks = study([Shifted()], baselines=True).tasks()
        works = [t.work for t in tasks if isinstance(t.work, MeasuringOpponents)]
        assert [work.other_batches for work in works] == [True] + [False] * 5

    def test_given_problems_are_taken_once(self) -> None:
        fixed = ou.families.Fixed([Quadratics().problem(i) for i in range(3)], "three")
        of = replace(study([Shifted()]), families=[fixed, Quadratics()], seeds=range(5))
        tasks = list(of.tasks())
        assert len(tasks) == of.size == (3 + 5) * 2
        assert {t.problem for t in tasks if t.family is fixed} == {0, 1, 2}

    def test_have_keys_of_their_own_which_travel(self) -> None:
        tasks = list(study(baselines=True).tasks())
        keys = [task.key for task in tasks]
        assert len(set(keys)) == len(keys)
        assert [pickle.loads(pickle.dumps(task)).key for task in tasks] == keys


class TestKey:
    def test_equal_studies_have_equal_keys(self) -> None:
        assert study().key == study().key
        assert study(seeds=[0, 1]).key == study(seeds=range(2)).key

    @pytest.mark.parametrize(
        "changes",
        [
            {"name": "other"},
            {"seeds": range(7)},
            {"truth_samples": 2048},
            {"baselines": True},
            {"threads": 2},
            {"methods": [Shifted(0.1)]},
            {"families": [Quadratics(name="other")]},
        ],
    )
    def test_others_have_others(self, changes: dict[str, Any]) -> None:
        assert replace(study(), **changes).key != study().key

    def test_is_the_same_from_a_file_and_from_python(self, tmp_path: Any) -> None:
        path = tmp_path / "study.toml"
        path.write_text(
            'name = "s"\nseeds = 2\n[[families]]\nfamily = "RandomMLP"\nwidth = 4\ndepth = 1\n'
            '[[estimators]]\nestimator = "Cumulants"\norder = [1, 2]\n'
        )
        family = ou.families.RandomMLP(width=4, depth=1)
        by_hand = Study("s", [family], [ou.Cumulants(1), ou.Cumulants(2)], range(2))
        assert Study.read(path).key == by_hand.key
        assert Study.read(path).to_dict() == by_hand.to_dict()


def test_a_budget_that_is_refused_names_the_estimator() -> None:
    with pytest.raises(ou.UnsupportedProblem, match="Shifted"):
        AtBudget(Shifted, 16).method(Quadratics().problem(0))


def test_the_budget_is_what_at_is_asked_for() -> None:
    problem = ou.families.RandomMLP(width=8, depth=1).problem(0)
    method = AtBudget(ou.Cumulants, 100, {"variant": "basic"}).method(problem)
    assert method.estimator == replace(ou.Cumulants.at(0.1, problem), variant="basic")
