"""Names of estimators, families and explainers: ours, and those of plug-ins."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from tests.comparison import toys

import outsample as ou
from outsample.comparison.sweeps import registry
from outsample.comparison.sweeps.registry import (
    build,
    estimator_class,
    explainer_class,
    family_class,
    parse_estimator,
    parse_explainer,
    parse_family,
    split_settings,
)

TOYS = toys.__name__
Install = Callable[..., None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that packages which register these (group, name, value) are installed."""

    def put(*points: tuple[str, str, str]) -> None:
        made = [EntryPoint(name, value, f"outsample.{group}") for group, name, value in points]
        monkeypatch.setattr(
            registry, "entry_points", lambda group: [p for p in made if p.group == group]
        )

    put()
    return put


@pytest.mark.usefixtures("install")
class TestOurs:
    @pytest.mark.parametrize(
        "name", ["MeanPropagation", "meanpropagation", "mean-propagation", "MEAN_PROPAGATION"]
    )
    def test_in_any_spelling(self, name: str) -> None:
        assert estimator_class(name) is ou.MeanPropagation

    def test_of_every_kind(self) -> None:
        assert family_class("random-mlp") is ou.families.RandomMLP
        assert explainer_class("pairexplainer") is ou.PairExplainer

    def test_everything_public_is_there(self) -> None:
        public = [value for value in vars(ou).values() if isinstance(value, type)]
        for cls in public:
            if issubclass(cls, ou.Estimator) and cls is not ou.Estimator:
                assert estimator_class(cls.__name__) is cls

    @pytest.mark.parametrize("name", ["Estimator", "RandomMLP", "", "Cumulant", "os.system"])
    def test_unknown_names_show_the_known(self, name: str) -> None:
        with pytest.raises(ou.InputError, match=f"estimator '{name}' is not known.*Cumulants"):
            estimator_class(name)

    def test_unknown_families_and_explainers(self) -> None:
        with pytest.raises(ou.InputError, match=r"family 'Cumulants' is not known.*RandomMLP"):
            family_class("Cumulants")
        with pytest.raises(ou.InputError, match=r"explainer 'x' is not known.*PairExplainer"):
            explainer_class("x")


class TestPlugins:
    def test_are_found_by_kind_and_name(self, install: Install) -> None:
        install(
            ("estimators", "Shifted", f"{TOYS}:Shifted"),
            ("families", "Quadratics", f"{TOYS}:Quadratics"),
            ("explainers", "my-teacher", f"{TOYS}:Teacher"),
        )
        assert estimator_class("shifted") is toys.Shifted
        assert family_class("quadratics") is toys.Quadratics
        assert explainer_class("MyTeacher") is toys.Teacher
        assert parse_estimator("shifted:shift=0.5") == toys.Shifted(0.5)
        with pytest.raises(ou.InputError, match=r"not known.*Shifted"):
            estimator_class("Quadratics")

    def test_do_not_take_the_place_of_ours(self, install: Install) -> None:
        install(("estimators", "cumulants", f"{TOYS}:Shifted"))
        assert estimator_class("Cumulants") is ou.Cumulants

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("no_such_package:X", "does not load: ModuleNotFoundError"),
            (f"{TOYS}:NoSuchClass", "does not load: AttributeError"),
            (f"{TOYS}:Quadratics", "expected a class derived from outsample.Estimator"),
            (f"{TOYS}:torch", "expected a class derived from outsample.Estimator"),
            ("math:pi", "expected a class derived from outsample.Estimator"),
        ],
    )
    def test_that_are_broken_say_how(self, install: Install, value: str, reason: str) -> None:
        install(("estimators", "Broken", value))
        with pytest.raises(ou.InputError, match=f"'Broken' is registered as '{value}'.*{reason}"):
            estimator_class("broken")
        assert estimator_class("Cumulants") is ou.Cumulants  # the others are none the worse

    def test_of_two_packages_under_one_name_are_refused(self, install: Install) -> None:
        install(
            ("estimators", "Shifted", f"{TOYS}:Shifted"),
            ("estimators", "shifted", "other_package:Shifted"),
        )
        with pytest.raises(ou.InputError, match=r"several packages: other_package:Shifted, tests"):
            estimator_class("Shifted")

    def test_seen_twice_on_the_path_are_one(self, install: Install) -> None:
        install(*[("estimators", "Shifted", f"{TOYS}:Shifted")] * 2)
        assert estimator_class("Shifted") is toys.Shifted


class TestSettings:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("3", 3), ("-2", -2), ("0.5", 0.5), ("1e-3", 1e-3), ("true", True), ("False", False),
            ("none", None), ("basic", "basic"), ("", ""), ("a=b", "a=b"),
        ],
    )  # fmt: skip
    def test_values(self, text: str, value: Any) -> None:
        name, settings = split_settings(f"Name:setting={text}")
        assert (name, settings) == ("Name", {"setting": value})
        assert type(settings["setting"]) is type(value)

    def test_without_any(self) -> None:
        assert split_settings(" Name ") == ("Name", {})

    @pytest.mark.parametrize("text", ["Name:", "Name:x", "Name:a=1:b"])
    def test_without_a_value_is_refused(self, text: str) -> None:
        with pytest.raises(ou.InputError, match="is not of the form SETTING=VALUE"):
            split_settings(text)

    def test_make_objects(self) -> None:
        assert parse_family("random-mlp:width=4:depth=1") == ou.families.RandomMLP(4, 1)
        assert parse_estimator("Cumulants:order=2:variant=basic") == ou.Cumulants(2, "basic")
        assert parse_explainer("PairExplainer:pairs=3") == ou.PairExplainer(3)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("Cumulants:ordr=2", "has no setting 'ordr'; its settings: order"),
            ("Cumulants:order=9", "order = 9"),
            ("Cumulants:order=two", "order = 'two'"),
        ],
    )
    def test_that_are_wrong(self, text: str, reason: str) -> None:
        with pytest.raises(ou.InputError, match=reason):
            parse_estimator(text)

    def test_that_are_missing(self) -> None:
        with pytest.raises(ou.InputError, match="RandomMLP needs the setting 'width'"):
            parse_family("RandomMLP:depth=1")

    def test_lists_arrive_as_tuples(self) -> None:
        class Listed(toys.Shifted):
            pass

        assert build(Listed, {"shift": [1, 2]}) == Listed((1, 2))

    @pytest.mark.parametrize("error", [TypeError, ValueError, ZeroDivisionError])
    def test_that_a_plugin_refuses_in_its_own_way(self, error: type[Exception]) -> None:
        @dataclass(frozen=True)
        class Picky(toys.Shifted):
            def __post_init__(self) -> None:
                raise error("not this one")

        with pytest.raises(ou.InputError, match=r"Picky: not this one; settings given: {'shift'"):
            build(Picky, {"shift": 1})
