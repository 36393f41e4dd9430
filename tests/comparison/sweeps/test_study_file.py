"""Study files: what they stand for, and what is refused with its place in the file."""

from pathlib import Path
from typing import Any

import pytest

import outsample as ou
from outsample.comparison.sweeps import AtBudget, Study
from outsample.comparison.sweeps.study import TRUTH_SAMPLES

ROOT = Path(__file__).resolve().parents[3]
FAMILY = '[[families]]\nfamily = "RandomMLP"\nwidth = 4\ndepth = 1\n'
ESTIMATOR = '[[estimators]]\nestimator = "Cumulants"\n'
GOOD = f'name = "good"\n{FAMILY}{ESTIMATOR}'
YAML = """
name: good
families:
- {family: RandomMLP, width: 4, depth: 1}
estimators:
- estimator: Cumulants
"""


def read(folder: Path, text: str | bytes, name: str = "study.toml") -> Study:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Study.read(path)


def with_top(line: str) -> str:
    return f"{line}\n{GOOD}"


def names(study: Study) -> list[str]:
    return [method.name for method in study.methods]  # type: ignore[union-attr]


def test_defaults(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD)
    assert study.name == "good"
    assert list(study.families) == [ou.families.RandomMLP(width=4, depth=1)]
    assert [m.estimator for m in study.methods] == [ou.Cumulants()]  # type: ignore[union-attr]
    assert list(study.seeds) == list(range(10))
    assert (study.truth_samples, study.baselines, study.threads) == (TRUTH_SAMPLES, True, 1)


def test_every_top_entry(tmp_path: Path) -> None:
    text = "seeds = 2\nbaselines = false\nthreads = 2\nschema_version = 1\n"
    study = read(tmp_path, f"{text}{GOOD}[truth]\nsamples = 512\n")
    assert (study.truth_samples, study.baselines, study.threads) == (512, False, 2)
    assert list(study.seeds) == [0, 1]


@pytest.mark.parametrize("ending", ["yaml", "yml"])
def test_yaml_says_the_same_as_toml(tmp_path: Path, ending: str) -> None:
    assert read(tmp_path, YAML, f"study.{ending}").key == read(tmp_path, GOOD).key


@pytest.mark.parametrize(
    ("written", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("[7, 2]", [7, 2]),
        ("{count = 2}", [0, 1]),
        ("{start = 5, count = 3}", [5, 6, 7]),
        (f"[{2**63 - 1}]", [2**63 - 1]),
    ],
)
def test_seeds(tmp_path: Path, written: str, seeds: list[int]) -> None:
    assert list(read(tmp_path, with_top(f"seeds = {written}")).seeds) == seeds


def test_lists_are_swept(tmp_path: Path) -> None:
    family = FAMILY.replace("4", "[4, 8]").replace("1", "[1, 2]")
    study = read(tmp_path, f'name = "s"\n{family}{ESTIMATOR}order = [1, 2]\n')
    assert [(f.width, f.depth) for f in study.families] == [(4, 1), (4, 2), (8, 1), (8, 2)]  # type: ignore[attr-defined]
    assert names(study) == ["Cumulants(1)", "Cumulants(2)"]


def test_entries_of_one_kind_add_up(tmp_path: Path) -> None:
    study = read(tmp_path, f'{GOOD}order = 1\n{ESTIMATOR}order = 2\nvariant = "basic"\n')
    assert names(study) == ["Cumulants(1)", "Cumulants(2, basic)"]


def test_a_list_in_a_list_is_a_value(tmp_path: Path) -> None:
    """Tried on a setting that takes no list: the message shows what arrived."""
    with pytest.raises(ou.InputError, match=r"activation = \('relu',\); expected one of"):
        read(tmp_path, GOOD.replace("depth = 1", 'depth = 1\nactivation = [["relu"]]'))


@pytest.mark.parametrize("written", ["true", "[16, 64]"])
def test_budgets(tmp_path: Path, written: str) -> None:
    text = with_top("budgets = [16, 64]") + f'variant = ["basic"]\nbudgets = {written}\n'
    expected = [AtBudget(ou.Cumulants, n, {"variant": "basic"}) for n in (16, 64)]
    assert list(read(tmp_path, text).methods) == expected


def test_no_budgets_is_the_estimator_itself(tmp_path: Path) -> None:
    assert names(read(tmp_path, GOOD + "budgets = false\norder = 2\n")) == ["Cumulants(2)"]


@pytest.mark.parametrize(
    "written",
    [
        '"PairExplainer:pairs=16"',
        '"pair-explainer:pairs=16"',
        '{explainer = "PairExplainer", pairs = 16}',
    ],
)
@pytest.mark.parametrize("budgets", ["false", "[16]"])
def test_explainers(tmp_path: Path, written: str, budgets: str) -> None:
    study = read(tmp_path, f"{GOOD}explainer = {written}\nbudgets = {budgets}\n")
    [method] = study.methods
    assert method.explainer == ou.PairExplainer(pairs=16)  # type: ignore[union-attr]


def test_the_template_is_a_study() -> None:
    study = Study.read(ROOT / "examples/studies/smoke.toml")
    assert {type(family) for family in study.families} == {ou.families.RandomMLP}
    assert any(isinstance(method, AtBudget) for method in study.methods)


BAD: list[tuple[str, str, str]] = [
    # what is wrong, the file, what the message says after the file's name
    ("empty", "", "name: Field required"),
    ("no families", f'name = "x"\n{ESTIMATOR}', "families: Field required"),
    ("no estimators", f'name = "x"\n{FAMILY}', "estimators: Field required"),
    ("empty families", f'name = "x"\nfamilies = []\n{ESTIMATOR}', "families: List should have"),
    ("empty estimators", f'name = "x"\nestimators = []\n{FAMILY}', "estimators: List should have"),
    ("no name", FAMILY + ESTIMATOR, "name: Field required"),
    ("empty name", GOOD.replace('"good"', '""'), "name: String should have"),
    ("name of another type", GOOD.replace('"good"', "3"), "name: Input should be a valid string"),
    ("unknown key", with_top("sedes = 3"), "sedes: Extra inputs are not permitted"),
    ("unknown key of truth", GOOD + "[truth]\nsample = 8\n", "truth.sample: Extra inputs"),
    ("truth of another type", with_top("truth = 8"), "truth: Input should be"),
    ("odd truth", GOOD + "[truth]\nsamples = 7\n", "truth_samples = 7; expected an even"),
    ("no truth", GOOD + "[truth]\nsamples = 0\n", "truth.samples: Input should be greater"),
    ("another schema", with_top("schema_version = 2"), "schema_version: Input should be 1"),
    ("threads", with_top("threads = 0"), "threads: Input should be greater"),
    ("threads that are not a number", with_top("threads = true"), "threads: Input should be"),
    ("baselines", with_top('baselines = "yes"'), "baselines: Input should be a valid boolean"),
    ("no seeds", with_top("seeds = []"), "seeds = []; expected a list, not empty"),
    ("seeds in words", with_top('seeds = "10"'), "seeds: Input should be a valid integer"),
    ("negative count", with_top("seeds = -1"), "seeds: Input should be greater"),
    ("too many seeds", with_top("seeds = 2_000_000"), "seeds: Input should be less"),
    ("negative seed", with_top("seeds = [0, -1]"), "seeds.1: Input should be greater"),
    ("huge seed", with_top(f"seeds = [{2**64}]"), "seeds.0: Input should be less"),
    ("the same seed twice", with_top("seeds = [4, 4]"), "seeds holds 4 2 times"),
    ("no count", with_top("seeds = {start = 3}"), "seeds.count: Field required"),
    ("a step", with_top("seeds = {count = 3, step = 2}"), "seeds.step: Extra inputs"),
    ("past the last seed", with_top(f"seeds = {{start = {2**63 - 1}, count = 2}}"), "below 2**63"),
    ("unknown family", GOOD.replace("RandomMLP", "Random"), "families.0: family 'Random' is not"),
    ("unknown estimator", GOOD.replace("Cumulants", "Kumulants"), "estimators.0: estimator 'Kum"),
    ("family without name", GOOD.replace("family =", "kind ="), "families.0.family: Field requ"),
    ("unknown setting", GOOD + "ordr = 2\n", "estimators.0: Cumulants has no setting 'ordr'"),
    ("unknown setting of a family", GOOD.replace("width", "wdth"), "families.0: RandomMLP has no"),
    ("missing setting", GOOD.replace("width = 4", ""), "families.0: RandomMLP needs the setting"),
    ("setting out of range", GOOD + "order = 7\n", "estimators.0: Cumulants: order = 7"),
    ("setting of another type", GOOD + "order = {a = 1}\n", "estimators.0: Cumulants: order = {"),
    ("a date", GOOD.replace("= 4", "= 2020-01-01"), "families.0: RandomMLP: width = datetime"),
    ("a table", GOOD.replace("depth = 1", "depth = 1\nactivation = {a = 1}"), "families.0: Random"),
    ("words for a number", GOOD.replace("depth = 1", 'depth = 1\nbias_scale = "x"'), "families.0"),
    ("nothing to sweep", GOOD + "order = []\n", "estimators.0: order = []; expected a value"),
    ("too much to sweep", GOOD + f"order = {[2] * 100_001}\n", "larger than"),
    (
        "too many combinations",
        GOOD + f"order = {[2] * 400}\nvariant = {['basic'] * 400}\n",
        "estimators.0: 160000 combinations; expected at most",
    ),
    ("a list for a value", GOOD + "order = [[2]]\n", "estimators.0: Cumulants: order = (2,)"),
    ("the same twice", GOOD + ESTIMATOR, "methods holds Cumulants(2) 2 times"),
    ("the same family twice", GOOD + FAMILY, "families holds RandomMLP(width=4, depth=1) 2"),
    ("no budgets to use", GOOD + "budgets = true\n", "estimators.0: no budgets; expected a list"),
    ("empty budgets", GOOD + "budgets = []\n", "estimators.0: no budgets; expected a list"),
    ("a budget that is no list", GOOD + "budgets = 16\n", "estimators.0.budgets: Input should"),
    ("a budget in words", GOOD + 'budgets = ["16"]\n', "estimators.0.budgets.0: Input should"),
    ("a budget below 1", GOOD + "budgets = [0.5]\n", "estimators.0: AtBudget: samples = 0.5"),
    ("a budget that is no number", GOOD + "budgets = [nan]\n", "AtBudget: samples = nan"),
    ("settings of a budget", GOOD + "budgets = [4]\nordr = 1\n", "Cumulants has no setting 'ordr'"),
    ("unknown explainer", GOOD + 'explainer = "X"\n', "estimators.0: explainer 'X' is not known"),
    ("explainer in pieces", GOOD + 'explainer = "PairExplainer:x"\n', "'x' is not of the form"),
    ("explainer of another type", GOOD + "explainer = 3\n", "estimators.0.explainer: Input"),
    ("explainer without name", GOOD + "explainer = {pairs = 3}\n", "explainer.explainer: Field"),
    (
        "unknown setting of an explainer",
        GOOD + 'explainer = {explainer = "PairExplainer", pears = 3}\n',
        "estimators.0: PairExplainer has no setting 'pears'",
    ),
    ("a family for an estimator", GOOD.replace("Cumulants", "RandomMLP"), "'RandomMLP' is not kn"),
    ("not a class of ours", GOOD.replace("Cumulants", "torch"), "estimator 'torch' is not known"),
    ("problems in a file", GOOD.replace('"RandomMLP"\nwidth = 4\ndepth = 1', '"Fixed"'), "needs"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [case[1:] for case in BAD], ids=[c[0] for c in BAD])
def test_bad_studies(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises((ou.InputError, ou.FormatError)) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"study '{tmp_path / 'study.toml'}'")
    assert reason in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.toml", "name = ", "is not TOML"),
        ("a.toml", 'name = "x"\nname = "y"', "is not TOML: Cannot overwrite"),
        ("a.toml", b"\xff\xfe", "not a text file in UTF-8"),
        ("a.toml", 'name = "\0"', "is not TOML"),
        ("a.toml", "seeds = " + "9" * 5000, "is not TOML: Exceeds the limit"),
        ("a.toml", "name = " + "[" * 50_000, "is not TOML: maximum recursion"),
        ("a.toml", ".".join("a" * 60_000) + " = 1", "a key of more than 32 parts"),
        ("a.toml", "[" + " . ".join(['"\\""'] * 10_000) + "]", "a key of more than 32 parts"),
        ("a.toml", GOOD + "#" * 2**17, "larger than 131072 bytes"),
        ("a.yaml", "name: [", "is not YAML"),
        ("a.yaml", "name: &a x\nother: *a", "has a YAML alias"),
        ("a.yaml", YAML + "name: again\n", "has the key 'name' twice (again in line 7)"),
        ("a.yaml", YAML.replace("width: 4", "width: 4, width: 5"), "the key 'width' twice"),
        ("a.yaml", "name: !!python/object/apply:os.system [exit]", "is not YAML"),
        ("a.yaml", "name: x\n---\nname: y\n", "is not YAML: expected a single document"),
        ("a.yaml", "name: 2020-13-45", "is not YAML: month must be"),
        ("a.yaml", "name: \0", "is not YAML"),
        ("a.yaml", "name: " + "9" * 5000, "is not YAML: Exceeds the limit"),
        ("a.yaml", "name: " + "[" * 60_000, "nested more than 32 deep"),
        ("a.yaml", "name: " + "{a: " * 200 + "1" + "}" * 200, "nested more than 32 deep"),
        ("a.yaml", "\n".join("  " * i + "a:" for i in range(100)), "nested more than 32 deep"),
    ],
)
def test_damaged_and_hostile_files(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(ou.FormatError) as caught:
        read(tmp_path, content, name)
    assert str(caught.value).startswith(f"study '{tmp_path / name}'")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.yaml", "", "the file: Input should be a valid dictionary"),
        ("a.yaml", "- name", "the file: Input should be a valid dictionary"),
        ("a.yaml", YAML.replace("width: 4", "1: 4"), "families.0.1: Keys should be strings"),
        ("a.yaml", YAML.replace("good", "yes"), "name: Input should be a valid string"),
        ("a.json", "{}", "ends in '.json'; expected .toml, .yaml or .yml"),
        ("study", GOOD, "ends in ''; expected .toml"),
    ],
)
def test_files_that_are_something_else(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    with pytest.raises(ou.InputError) as caught:
        read(tmp_path, content, name)
    assert str(caught.value).startswith(f"study '{tmp_path / name}'")
    assert reason in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.toml"):
        with pytest.raises(ou.InputError, match="cannot be read"):
            Study.read(path)


@pytest.mark.parametrize("package", ["pydantic", "yaml"])
def test_without_the_packages_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    import sys

    import outsample.comparison.sweeps as sweeps

    stood: Any = sweeps.__dict__.get("study_file")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "outsample.comparison.sweeps.study_file", raising=False)
    try:
        with pytest.raises(ImportError, match=r"pip install 'outsample\[compare\]'"):
            read(tmp_path, YAML, "study.yaml")
    finally:
        if stood is not None:
            monkeypatch.setattr(sweeps, "study_file", stood)


@pytest.mark.parametrize(("ending", "size"), [("toml", 2 * 2 * 20 * 7), ("yaml", 2 * 2 * 20 * 4)])
def test_the_documentation_shows_studies(tmp_path: Path, ending: str, size: int) -> None:
    page = (ROOT / "docs/how-to/run-a-study.md").read_text("utf-8")
    _, block = page.split(f"```{ending}\n")
    assert read(tmp_path, block.partition("```")[0], f"study.{ending}").size == size
