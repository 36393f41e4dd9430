"""``outsample compare``: results, files, failures, interruption, studies."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from outsample.comparison.families import RandomMLP
from outsample.comparison.sweeps import Store
from outsample.comparison.sweeps.pools import Pool
from outsample.comparison.sweeps.progress import Progress
from outsample.networks import NetworkMean

SMALL = ("compare", "--width", 4, "--depth", 1, "--instances", 2)
BOTH = "mean-propagation,cumulants:order=2:variant=basic"


def test_results_go_to_standard_output_and_to_files(run: Run, tmp_path: Path) -> None:
    path, picture = tmp_path / "result.json", tmp_path / "result.png"
    result = run(*SMALL, "--estimators", BOTH, "--output", path, "--plot", picture, "--json")
    assert result.code == 0
    assert result.document["schema_version"] == 1
    assert result.document["family"] == "RandomMLP(width=4, depth=1)"
    written = json.loads(path.read_text("utf-8"))
    assert written["scores"] == result.document["scores"]
    assert len(written["scores"]) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.json", "result.png"]


def test_plain_is_a_markdown_table(run: Run) -> None:
    result = run(*SMALL, "--estimators", "cumulants")
    assert result.code == 0
    assert "| --- |" in result.out
    assert "moment-matched" in result.out


def test_rich_is_a_drawn_table(run: Run) -> None:
    result = run(*SMALL, "--estimators", "cumulants", "--format", "rich")
    assert result.code == 0
    assert "┃" in result.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--estimators", "cumulant"), "'cumulant' is not known"),
        (("--estimators", "cumulants,cumulants"), "2 times"),
        (("--activation", "rleu"), "activation = 'rleu'"),
        (("--width", 0), "width = 0"),
        (("--depth", -1), "depth = -1"),
        (("--instances", 0), "instances = 0"),
        (("--output", "missing/result.json"), "there is no folder 'missing'"),
        (("--plot", "missing/result.png"), "there is no folder 'missing'"),
        (("--plot", "result"), "cannot draw 'result'"),
    ],
)
def test_bad_input_is_exit_code_2(words: tuple[str, ...], reason: str, run: Run) -> None:
    result = run(*SMALL, *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ") and reason in result.err


def test_an_estimator_that_fails_is_exit_code_1_and_the_others_go_on(run: Run) -> None:
    result = run(*SMALL, "--estimators", "moment-matched:samples=20,cumulants", "--json")
    assert result.code == 1
    assert "BudgetError" in result.err and "samples = 20" in result.err
    assert len(result.document["scores"]) == 2


def test_interruption_keeps_what_was_finished(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = RandomMLP.problem

    def problem(self: RandomMLP, seed: int) -> NetworkMean:
        if seed == 1:
            raise KeyboardInterrupt
        return original(self, seed)

    monkeypatch.setattr(RandomMLP, "problem", problem)
    path = tmp_path / "result.json"
    result = run(*SMALL, "--estimators", "cumulants", "--json", "--output", path)
    assert result.code == 130
    assert "To run it again: outsample" in result.err
    assert result.document["interrupted"] is True
    assert len(result.document["truths"]) == 1
    assert json.loads(path.read_text("utf-8"))["interrupted"] is True


STUDY = """
name = "tiny"
seeds = 2
baselines = false
[truth]
samples = 256
[[families]]
family = "RandomMLP"
width = 4
depth = 1
[[estimators]]
estimator = "Cumulants"
order = [1, 2]
"""
#: Fails on every problem: too few samples for moment matching.
FAILING = '[[estimators]]\nestimator = "MonteCarlo"\nsamples = 20\nmoment_matched = true\n'
CELLS = 2 * (2 + 1)


@contextmanager
def inline(workers: int) -> Generator[Pool]:
    with ThreadPoolExecutor(1) as executor:
        yield Pool(executor, 2, workers)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study file; studies run in this process."""
    monkeypatch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)
    path = tmp_path / "study.toml"
    path.write_text(STUDY)
    return path


class TestStudies:
    def test_results_go_to_the_store_and_are_shown(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "results.duckdb"
        result = run("compare", file, "-o", store)
        assert result.code == 0
        assert "Cumulants(1)" in result.out and "| --- |" in result.out
        assert f"{CELLS} tasks run" in result.out
        assert f"outsample report {store} -o {store.with_suffix('.html')}" in result.out
        with Store(store, read_only=True) as read:
            assert read.count() == 4
            assert [s["name"] for s in read.studies()] == ["tiny"]

    def test_run_again_takes_what_is_there(self, run: Run, file: Path, tmp_path: Path) -> None:
        words = ("compare", file, "-o", tmp_path / "results.duckdb", "--json")
        first, second = run(*words).document, run(*words).document
        assert (first["computed"], first["stored"], first["failed"]) == (CELLS, 0, 0)
        assert (second["computed"], second["stored"]) == (0, CELLS)
        assert first["study"] == "tiny"
        assert first["store"] == str(tmp_path / "results.duckdb")
        [comparison] = first["comparisons"]
        assert comparison["family"] == "RandomMLP(width=4, depth=1)"
        assert comparison["scores"] == second["comparisons"][0]["scores"]

    def test_only_the_cells_of_the_study_are_shown(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "results.duckdb"
        run("compare", file, "-o", store)
        file.write_text(STUDY.replace("[1, 2]", "2"))
        result = run("compare", file, "-o", store)
        assert result.code == 0
        assert "Cumulants(2)" in result.out and "Cumulants(1)" not in result.out

    def test_truths_are_cached_where_it_says(self, run: Run, file: Path, tmp_path: Path) -> None:
        for i, cached in enumerate((0, 2)):
            found = run(
                "compare", file, "-o", tmp_path / f"{i}.duckdb", "--cache", tmp_path / "truths",
                "--json",
            )  # fmt: skip
            assert found.document["cached"] == cached
        assert len(list((tmp_path / "truths").iterdir())) == 2

    def test_an_estimator_that_fails_is_exit_code_1_and_retried_if_asked(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        file.write_text(STUDY + FAILING)
        words = ("compare", file, "-o", tmp_path / "results.duckdb", "--json")
        computed = []
        for more in ((), (), ("--retry",)):
            result = run(*words, *more)
            assert result.code == 1
            assert "BudgetError" in result.err and "--retry" in result.err
            assert len(result.document["comparisons"][0]["scores"]) == 3
            computed.append(result.document["computed"])
        assert computed == [CELLS + 2, 0, 2]

    def test_ctrl_c_says_how_to_go_on(
        self, run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = tmp_path / "results.duckdb"
        with monkeypatch.context() as patch:
            patch.setattr(Progress, "advance", lambda *_: signal.raise_signal(signal.SIGINT))
            patch.setattr(sys, "argv", ["outsample", "compare", "study.toml", "-o", "a b.duckdb"])
            result = run("compare", file, "-o", store)
        assert (result.code, result.out) == (130, "")
        assert "To run it again: outsample compare study.toml -o 'a b.duckdb'" in result.err
        with Store(store, read_only=True) as read:
            kept = len(read.keys())
        assert 0 < kept < CELLS
        assert run("compare", file, "-o", store, "--json").document["stored"] == kept

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ((), "needs a store for its results: -o RESULTS.duckdb"),
            (("-o", "missing/results.duckdb"), "there is no folder 'missing'"),
            (("-o", "."), "is a folder"),
            (("-o", "results.duckdb", "--workers", 0), "workers = 0"),
            (
                ("-o", "results.duckdb", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1"),
                "a scheduler has its own",
            ),
            *[
                (("-o", "results.duckdb", f"--{name}", value), f"--{name} belongs in the study")
                for name, value in [
                    ("width", 4), ("depth", 1), ("activation", "relu"), ("instances", 3),
                    ("estimators", "cumulants"), ("seed", 0), ("plot", "x.png"),
                ]
            ],
        ],
    )  # fmt: skip
    def test_bad_options_are_exit_code_2(
        self, run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        words: tuple[object, ...], reason: str,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        result = run("compare", file, *words)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("error: ") and reason in result.err

    @pytest.mark.parametrize(
        "words",
        [("--workers", 1), ("--scheduler", "tcp://x:1"), ("--cache", "x"), ("--retry",)],
    )
    def test_options_of_studies_need_one(self, run: Run, words: tuple[object, ...]) -> None:
        result = run(*SMALL, *words)
        assert (result.code, result.out) == (2, "")
        assert f"error: {words[0]} is for study files" in result.err

    def test_a_malformed_study_is_exit_code_2_and_leaves_no_store(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        for content, reason in (
            ("name = ", "is not TOML"),
            ('name = "x"', "families: Field required"),
            (STUDY.replace("Cumulants", "Kumulants"), "estimator 'Kumulants' is not known"),
            (STUDY.replace("RandomMLP", "Random"), "family 'Random' is not known"),
        ):
            file.write_text(content)
            result = run("compare", file, "-o", tmp_path / "results.duckdb")
            assert (result.code, result.out) == (2, "")
            assert result.err.startswith(f"error: study '{file}'") and reason in result.err
        assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]

    def test_a_study_that_is_not_there_is_exit_code_2(self, run: Run, tmp_path: Path) -> None:
        result = run("compare", tmp_path / "no.toml", "-o", tmp_path / "results.duckdb")
        assert result.code == 2
        assert "cannot be read" in result.err

    def test_an_unreachable_scheduler_is_exit_code_2(
        self, run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("distributed")
        monkeypatch.setattr("outsample.comparison.sweeps.pools._PATIENCE", 1)
        words = ("-o", tmp_path / "results.duckdb", "--scheduler", "tcp://127.0.0.1:1")
        result = run("compare", file, *words)
        assert (result.code, result.out) == (2, "")
        assert "error: scheduler 'tcp://127.0.0.1:1' cannot be reached" in result.err

    def test_a_file_that_is_no_store_is_exit_code_2_and_stays(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "notes.txt"
        other.write_text("mine\n" * 1000)
        result = run("compare", file, "-o", other)
        assert result.code == 2
        assert "is not a DuckDB file" in result.err
        assert other.read_text() == "mine\n" * 1000

    def test_a_store_that_is_being_written_is_exit_code_2(
        self, run: Run, file: Path, tmp_path: Path
    ) -> None:
        store = tmp_path / "results.duckdb"
        code = (
            "import sys\nfrom outsample.comparison.sweeps import Store\n"
            "with Store(sys.argv[1]):\n    print('open', flush=True)\n    sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"open\n"
            result = run("compare", file, "-o", store)
            holder.communicate()
        assert (result.code, result.out) == (2, "")
        assert f"is being written by process {holder.pid}" in result.err
        assert run("compare", file, "-o", store).code == 0

    @pytest.mark.parametrize("package", ["duckdb", "yaml"])
    def test_without_the_extra_it_says_what_to_install(
        self, run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, "outsample.comparison.sweeps.study_file", raising=False)
        result = run("compare", file, "-o", tmp_path / "results.duckdb")
        assert result.code == 2
        assert "pip install 'outsample[compare]'" in result.err
