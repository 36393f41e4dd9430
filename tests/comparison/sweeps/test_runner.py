import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from tests.comparison.sweeps.cases import Drawing, Fatal, Peeking, Slow, contents, study
from tests.comparison.toys import Quadratics, Shifted

import outsample as ou
from outsample.comparison.cells import Method, run_cell
from outsample.comparison.sweeps import AtBudget, Store, Study, runner, sweep
from outsample.comparison.sweeps.pools import Pool
from outsample.comparison.sweeps.progress import Progress
from outsample.comparison.sweeps.truth_cache import TruthCache

CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def preloaded() -> None:
    """Processes start from a server that has imported what they need."""
    CONTEXT.set_forkserver_preload(["tests.comparison.sweeps.warm"])


@contextmanager
def inline(workers: int) -> Generator[Pool]:
    """A pool in this process: what is tested is what happens to results."""
    with ThreadPoolExecutor(1) as executor:
        yield Pool(executor, 2, workers)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)


def reference(of: Study) -> tuple[list[Any], list[Any]]:
    """What a study gives when nothing happens to it."""
    with Store(":memory:") as store:
        sweep(of, store, progress=False)
        return contents(store)


@pytest.mark.usefixtures("here")
class TestOneProcess:
    def test_runs_everything_once(self) -> None:
        with Store(":memory:") as store:
            first = sweep(study(), store, progress=False)
            again = sweep(study(), store, progress=False)
        assert (first.computed, first.stored, first.failed) == (24, 0, 0)
        assert (again.computed, again.stored) == (0, 24)

    def test_a_larger_study_takes_over_what_is_there(self) -> None:
        with Store(":memory:") as store:
            sweep(study(seeds=range(3)), store, progress=False)
            outcome = sweep(study(seeds=range(6)), store, progress=False)
            assert (outcome.computed, outcome.stored) == (12, 12)
            assert contents(store)[0] == reference(study())[0]

    def test_an_estimator_that_fails_is_recorded_and_retried(self) -> None:
        broken = study([Shifted(0.1), ou.Cumulants(2)])
        with Store(":memory:") as store:
            outcome = sweep(broken, store, progress=False)
            assert (outcome.computed, outcome.failed) == (18, 6)
            assert sweep(broken, store, progress=False).computed == 0
            assert sweep(broken, store, retry=True, progress=False).computed == 6
            [comparison] = store.comparisons()
        failed = [score for score in comparison.scores() if score.error]
        assert [score.method for score in failed] == ["Cumulants(2)"]
        assert failed[0].failures == 6
        assert "UnsupportedProblem" in (failed[0].error or "")

    def test_truths_are_shared_between_studies(self, tmp_path: Path) -> None:
        for expected in (0, 6):
            with Store(":memory:") as store:
                outcome = sweep(study(), store, cache=tmp_path, progress=False)
                assert outcome.cached == expected
                assert contents(store) == reference(study())

    def test_a_damaged_cache_is_computed_again(self, tmp_path: Path) -> None:
        with Store(":memory:") as store:
            sweep(study(), store, cache=tmp_path, progress=False)
        damage = [b"", b"{}", b"[1]", b'{"truth": {"problem": 0', b"\xff", b'{"truth": 3}']
        for path, content in zip(sorted(tmp_path.iterdir()), damage, strict=True):
            path.write_bytes(content)
        with Store(":memory:") as store:
            assert sweep(study(), store, cache=tmp_path, progress=False).cached == 0
            assert contents(store) == reference(study())
        with Store(":memory:") as store:
            assert sweep(study(), store, cache=tmp_path, progress=False).cached == 6

    def test_a_cache_that_cannot_be_written_to_is_given_up(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with (
            Store(":memory:") as store,
            pytest.warns(ou.OutsampleWarning, match="not kept"),
        ):
            sweep(study(), store, cache=tmp_path / "file" / "cache", progress=False)

    def test_the_cache_is_where_the_environment_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert TruthCache().folder is None  # tests run without
        monkeypatch.setenv("OUTSAMPLE_CACHE", str(tmp_path))
        assert TruthCache().folder == tmp_path
        monkeypatch.delenv("OUTSAMPLE_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert TruthCache().folder == tmp_path / "outsample" / "truths"

    def test_budgets_set_the_estimator(self) -> None:
        family = ou.families.RandomMLP(width=8, depth=2)
        methods = [AtBudget(ou.Cumulants, n, {"variant": "basic"}) for n in (16, 100)]
        with Store(":memory:") as store:
            sweep(Study("at", [family], methods, range(2), 1024, False), store, progress=False)
            [comparison] = store.comparisons()
        orders = {c.method: c.request["settings"]["order"] for c in comparison.cells}
        assert orders == {
            "Cumulants(variant=basic) at N=16": 1, "Cumulants(variant=basic) at N=100": 2
        }  # fmt: skip
        assert {c.request["settings"]["variant"] for c in comparison.cells} == {"basic"}

    def test_finding_settings_is_watched_and_paid_for(self) -> None:
        methods = [AtBudget(kind, 16) for kind in (Peeking, Drawing)]
        with Store(":memory:") as store:
            sweep(study(methods, range(2)), store, progress=False)
            [comparison] = store.comparisons()
        cells = {cell.method: cell for cell in comparison.cells}
        assert "RandomnessError" in (cells["Drawing at N=16"].error or "")
        plain = run_cell(Quadratics().problem(0), 0, Method("plain", Peeking()))
        peeked = cells["Peeking at N=16"]
        assert (peeked.flops or 0) >= (plain.flops or 0) + 2 * 30**3

    def test_scores_are_those_of_compare(self) -> None:
        family = ou.families.RandomMLP(width=8, depth=2)
        methods = [ou.Cumulants(1), ou.Cumulants(2, "basic")]
        expected = ou.compare(family, methods, 4, truth_samples=1024, threads=1, progress=False)
        with Store(":memory:") as store:
            sweep(Study("same", [family], methods, range(4), 1024), store, progress=False)
            [found] = store.comparisons()
        for one, other in zip(found.scores(), expected.scores(), strict=True):
            assert (one.vn_error, one.low, one.high) == (other.vn_error, other.low, other.high)
            assert one.flops == other.flops
        constants = [[s.constants for s in c.samplings] for c in (found, expected)]
        assert constants[0] == constants[1]

    def test_samplers_are_measured(self) -> None:
        with Store(":memory:") as store:
            sweep(study(seeds=range(2), baselines=True), store, progress=False)
            [comparison] = store.comparisons()
        names = [sampling.name for sampling in comparison.samplings]
        assert names[:3] == ["plain Monte Carlo", "antithetic", "moment-matched"]
        assert all(sampling.seconds_per_sample > 0 for sampling in comparison.samplings)

    def test_says_how_far_it_is(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("outsample.comparison.sweeps.progress._INTERVAL", 0.0)
        with Store(":memory:") as store:
            sweep(study(), store)
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1].startswith("quick: 24 of 24 tasks, ")
        assert "a second" in lines[0]
        assert "left" in lines[0]

    def test_ctrl_c_keeps_what_was_finished(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "results.duckdb"
        stored: list[int] = []

        def advance(bar: Progress, count: int, failed: int) -> None:
            stored.append(count)
            if len(stored) == 5:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch, Store(path) as store:
            patch.setattr(Progress, "advance", advance)
            with pytest.raises(KeyboardInterrupt):
                sweep(study(), store, progress=False)
        with Store(path) as store:
            assert len(store.keys()) == sum(stored) < study().size
            sweep(study(), store, progress=False)
            assert contents(store) == reference(study())


def _drive(path: str, told: Connection, workers: int) -> None:
    """The process that is killed; it tells when its store is open, and when it has grown."""
    if workers == 1:  # a thread starts at once
        runner.local_pool = inline  # type: ignore[assignment]

    def tell(self: Progress, count: int, failed: int) -> None:
        told.send("stored")

    Progress.advance = tell
    with Store(path) as store:
        told.send("open")
        sweep(study(), store, workers=workers, progress=False)


def _kills(tmp_path: Path, kills: int, workers: int, longest: float) -> None:
    """Kill a sweep at random moments; no cell that it had stored may be gone afterwards."""
    path = tmp_path / "results.duckdb"
    moments = random.Random(0)
    whole = rounded(reference(study()))
    seen: set[str] = set()
    halfway = 0
    for i in range(kills):
        heard, told = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_drive, args=(str(path), told, workers))
        process.start()
        told.close()
        with suppress(EOFError):  # it has finished
            for _ in range(moments.randint(1, 6)):
                heard.recv()
        process.join(moments.uniform(0.0, longest))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        with Store(path, read_only=True) as store:
            now = store.keys()
            assert seen <= now, f"kill {i} lost {len(seen - now)} cells"
            found, count = contents(store), store.count()
        assert count == len({(row["key"], row["method"]) for row in found[0]}), "stored twice"
        seen = now
        halfway += 0 < len(seen) < study().size
        if len(seen) == study().size:  # finished in spite of all: from the start again
            assert rounded(found) == whole
            path = tmp_path / f"after_{i}.duckdb"
            seen = set()
    assert halfway > kills // 3
    with Store(path) as store:
        sweep(study(), store, progress=False)
        assert rounded(contents(store)) == whole


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kills", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_lose_nothing(kills: int, tmp_path: Path) -> None:
    _kills(tmp_path, kills, workers=1, longest=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_kills_of_a_sweep_in_processes_lose_nothing(tmp_path: Path) -> None:
    _kills(tmp_path, 20, workers=2, longest=0.5)


class TestProcesses:
    def test_give_the_same_as_one(self) -> None:
        several = study(baselines=False)
        with Store(":memory:") as store:
            sweep(several, store, workers=2, progress=False)
            found = contents(store)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)
            assert found == reference(several)

    def test_a_worker_that_dies_costs_only_its_own_cell(self) -> None:
        fatal = study([Shifted(0.1), Fatal(0.2)], seeds=range(4))
        with Store(":memory:") as store:
            outcome = sweep(fatal, store, workers=2, progress=False)
            [comparison] = store.comparisons()
        assert (outcome.computed, outcome.failed) == (fatal.size, 1)
        [error] = [c for c in comparison.cells if c.error]
        assert (error.method, error.problem) == ("Fatal(0.2)", 1)
        assert "WorkerDied" in (error.error or "")


@pytest.fixture(scope="module")
def cluster() -> Generator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def rounded(found: Any) -> Any:
    """Floats to 12 digits: the last ones depend on how a process has aligned its memory."""
    match found:
        case float():
            return float(f"{found:.12g}")
        case dict():
            return {k: rounded(v) for k, v in found.items()}  # pyright: ignore[reportUnknownVariableType]
        case list() | tuple():
            return [rounded(v) for v in found]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return found


class TestCluster:
    def test_gives_the_same_as_processes_here(self, cluster: Any) -> None:
        mixed = replace(study(), methods=[Shifted(0.1), ou.MonteCarlo(256)])
        with Store(":memory:") as store:
            outcome = sweep(mixed, store, scheduler=cluster.scheduler_address, progress=False)
            found = contents(store)
        assert outcome.failed == 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)
            assert rounded(found) == rounded(reference(mixed))

    def test_a_killed_worker_loses_nothing(self, cluster: Any) -> None:
        slow = study([Slow(0.1, nap=0.02), Slow(0.2, nap=0.02)], seeds=range(8))
        victim = next(iter(cluster.workers.values())).pid
        kill = threading.Timer(1.0, os.kill, [victim, signal.SIGKILL])
        with Store(":memory:") as store:
            kill.start()
            outcome = sweep(slow, store, scheduler=cluster.scheduler_address, progress=False)
            found = contents(store)
        assert (outcome.computed, outcome.failed) == (slow.size, 0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)
            assert rounded(found) == rounded(reference(slow))

    def test_a_scheduler_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("outsample.comparison.sweeps.pools._PATIENCE", 1)
        for address in ("tcp://127.0.0.1:1", "nonsense://", "127.0.0.1:abc"):
            with Store(":memory:") as store, pytest.raises(ou.InputError, match="scheduler"):
                sweep(study(), store, scheduler=address, progress=False)


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    """Worker processes import it, and it must not sweep again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import outsample as ou\n"
        "family = ou.families.RandomMLP(width=4, depth=1)\n"
        "with ou.Store('results.duckdb') as store:\n"
        "    ou.sweep(ou.Study('s', [family], [ou.MeanPropagation()], [0]), store, workers=1)\n"
    )
    run = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert 'if __name__ == "__main__":' in run.stderr.splitlines()[-1]
    with Store(tmp_path / "results.duckdb") as store:
        assert store.keys() == set()


def test_bad_arguments() -> None:
    with Store(":memory:") as store:
        with pytest.raises(ou.InputError, match="workers = 0"):
            sweep(study(), store, workers=0)
        with pytest.raises(ou.InputError, match="a scheduler has its own"):
            sweep(study(), store, workers=2, scheduler="tcp://127.0.0.1:8786")


def test_family_that_fails() -> None:
    class Broken(Quadratics):
        def problem(self, seed: int) -> Any:
            if seed == 1:
                raise ValueError("no such problem")
            return super().problem(seed)

    with pytest.MonkeyPatch.context() as patch, Store(":memory:") as store:
        patch.setattr("outsample.comparison.sweeps.runner.local_pool", inline)
        broken = replace(study(seeds=range(3)), families=[Broken(known=False)])
        assert sweep(broken, store, progress=False).failed == 4
        [comparison] = store.comparisons()
    assert [t.problem for t in comparison.truths if t.error] == [1]
    assert all(score.problems == 2 for score in comparison.scores())
