import os
import random
import secrets
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from os import environ
from random import Random, SystemRandom

import numpy as np
import pytest
import torch
from numpy.random import PCG64, Generator, RandomState, default_rng
from scipy.stats import norm, qmc
from torch import nn

from outsample.comparison.mechanistic import forbid_randomness
from outsample.errors import RandomnessError

TORCH, NUMPY, LEGACY, PYTHON = torch.Generator(), default_rng(1), RandomState(1), Random(1)
SYSTEM, SOBOL, TORCH_SOBOL = SystemRandom(), qmc.Sobol(2, seed=1), torch.quasirandom.SobolEngine(2)


def polite_torch() -> None:
    with torch.random.fork_rng():
        torch.randn(2)


def polite_numpy() -> None:
    state = np.random.get_state()
    np.random.seed(0)
    np.random.normal()
    np.random.set_state(state)


def stubborn() -> None:
    with suppress(RandomnessError):
        random.random()


def reworded() -> None:
    try:
        np.random.default_rng(1)
    except RandomnessError as error:
        raise ValueError("unrelated") from error


CHEATS: dict[str, tuple[Callable[[], object], str]] = {
    "torch.randn": (lambda: torch.randn(3), "aten::randn.*default generator"),
    "torch.rand with a generator": (lambda: torch.rand(3, generator=TORCH), "made beforehand"),
    "Tensor.normal_": (lambda: torch.empty(3).normal_(generator=TORCH), "aten::normal_"),
    "torch.randperm": (lambda: torch.randperm(5), "aten::randperm"),
    "torch.bernoulli": (lambda: torch.bernoulli(torch.full((9,), 0.5)), "aten::bernoulli"),
    "torch.multinomial": (lambda: torch.multinomial(torch.ones(9), 2), "aten::multinomial"),
    "dropout": (lambda: nn.functional.dropout(torch.ones(9)), "aten::"),
    "new layer": (lambda: nn.Linear(2, 2), "aten::uniform_"),
    "torch.Generator": (lambda: torch.Generator(), r"torch\.Generator\(\)"),
    "torch.seed": (lambda: torch.seed(), r"torch\.seed"),
    "torch.manual_seed": (lambda: torch.manual_seed(1), r"torch\.manual_seed"),
    "torch, state put back": (polite_torch, "aten::randn"),
    "Sobol of torch": (lambda: torch.quasirandom.SobolEngine(2), "SobolEngine"),
    "Sobol of torch made beforehand": (lambda: TORCH_SOBOL.draw(4), "SobolEngine.draw"),
    "Sobol of scipy": (lambda: qmc.Sobol(2, scramble=True), "numpy.random|QMCEngine"),
    "Sobol of scipy made beforehand": (lambda: SOBOL.random(4), "QMCEngine.random"),
    "Halton": (lambda: qmc.Halton(2, scramble=False).random(4), "QMCEngine|numpy.random"),
    "numpy legacy function": (lambda: np.random.normal(), r"numpy\.random\.normal"),
    "numpy.random.seed": (lambda: np.random.seed(3), r"numpy\.random\.seed"),
    "numpy, state put back": (polite_numpy, r"numpy\.random\.seed"),
    "scipy distribution": (lambda: norm.rvs(), "global generator of numpy"),
    "default_rng": (lambda: np.random.default_rng(3), r"numpy\.random\.default_rng"),
    "default_rng imported by name": (lambda: default_rng(3), "bit generator"),
    "Generator(PCG64) imported by name": (lambda: Generator(PCG64(3)), "bit generator"),
    "RandomState imported by name": (lambda: RandomState(3), "bit generator"),
    "SeedSequence": (lambda: np.random.SeedSequence(3), "SeedSequence"),
    "numpy generator made beforehand": (lambda: NUMPY.normal(), "PCG64 made beforehand"),
    "RandomState made beforehand": (lambda: LEGACY.normal(), "(MT|Ra).* made beforehand"),
    "random.random": (lambda: random.random(), r"random\.random"),
    "random.seed": (lambda: random.seed(3), r"random\.seed"),
    "random.Random": (lambda: random.Random(3), r"random\.Random\(\)"),
    "Random imported by name": (lambda: Random(3), r"random\.Random\(\)"),
    "Random made beforehand": (lambda: PYTHON.random(), "Random made beforehand"),
    "SystemRandom": (lambda: random.SystemRandom(), r"random\.Random\(\)"),
    "SystemRandom made beforehand": (lambda: SYSTEM.random(), "SystemRandom"),
    "os.urandom": (lambda: os.urandom(4), r"os\.urandom"),
    "uuid": (lambda: uuid.uuid4(), r"os\.urandom"),
    "secrets.token_bytes": (lambda: secrets.token_bytes(4), "SystemRandom"),
    "secrets.choice": (lambda: secrets.choice([1, 2, 3]), "SystemRandom"),
    "swallowed refusal": (stubborn, r"random\.random"),
    "refusal turned into another error": (reworded, "default_rng"),
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_are_named_and_states_put_back(name: str) -> None:
    cheat, expected = CHEATS[name]
    before = (
        torch.get_rng_state().tolist(), TORCH.get_state().tolist(), repr(np.random.get_state()),
        repr(NUMPY.bit_generator.state), repr(LEGACY.get_state()), random.getstate(),
        PYTHON.getstate(),
    )  # fmt: skip
    search = "made beforehand" in name  # takes a while
    with pytest.raises(RandomnessError, match=expected), forbid_randomness(search):
        cheat()
    after = (
        torch.get_rng_state().tolist(), TORCH.get_state().tolist(), repr(np.random.get_state()),
        repr(NUMPY.bit_generator.state), repr(LEGACY.get_state()), random.getstate(),
        PYTHON.getstate(),
    )  # fmt: skip
    assert after == before


def honest() -> torch.Tensor:
    matrix = torch.eye(4) + torch.full((4, 4), 0.1)
    torch.linalg.cholesky(matrix)
    torch.empty(3).fill_(1)
    heads = torch.ones(1, 1, 4, 4)
    nn.functional.scaled_dot_product_attention(heads, heads, heads)  # may draw, but does not
    nn.functional.dropout(heads, training=False)
    np.linalg.svd(np.eye(3))
    assert isinstance(NUMPY, np.random.Generator)
    assert isinstance(LEGACY, np.random.RandomState)
    assert isinstance(TORCH, torch.Generator)
    assert environ is os.environ
    with torch.enable_grad():
        weight = torch.ones(4, requires_grad=True)
        (matrix @ weight).square().sum().backward()
        assert weight.grad is not None
    return weight.grad


def test_honest_work_passes_with_the_same_result() -> None:
    free = honest()
    with forbid_randomness():
        watched = honest()
    assert torch.equal(free, watched)


def test_everything_works_again_afterwards() -> None:
    def patched() -> list[object]:
        return [torch.Generator, np.random.SeedSequence, np.random.normal, random.random]

    originals = patched()
    kept: list = []
    with pytest.raises(RandomnessError), forbid_randomness():
        kept += patched()
        torch.Generator()
    assert patched() == originals
    assert not set(kept) & set(originals)
    assert torch.randn(2, generator=torch.Generator().manual_seed(1)).shape == (2,)
    assert default_rng(1).random() == default_rng(1).random()
    assert Random(1).random() == Random(1).random()
    qmc.Sobol(2).random(2)
    # What a module imported inside the block may have kept is usable, too.
    assert isinstance(kept[0]().manual_seed(1), torch.Generator)
    assert isinstance(kept[2](), float)
    assert isinstance(kept[3](), float)


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), forbid_randomness(search=False):
        _ = 1 / 0


def test_search_is_what_finds_generators_made_beforehand() -> None:
    state = NUMPY.bit_generator.state
    with forbid_randomness(search=False):
        NUMPY.normal()
    assert NUMPY.bit_generator.state != state


def test_blocks_nest() -> None:
    with forbid_randomness(), pytest.raises(RandomnessError), forbid_randomness():
        os.urandom(3)
    os.urandom(3)


def test_threads_that_ran_before_may_draw() -> None:
    """A cluster's worker has threads of its own, which make identifiers and choose peers."""
    start, stop = threading.Event(), threading.Event()
    drawn: list[float] = []

    def draw() -> None:
        start.wait()
        drawn.extend([random.random(), len(os.urandom(4)), float(np.random.default_rng().random())])
        stop.set()

    other = threading.Thread(target=draw)
    other.start()
    with forbid_randomness():
        start.set()
        stop.wait(10)
    other.join()
    assert len(drawn) == 3


def test_threads_that_the_block_starts_may_not() -> None:
    def draw() -> None:
        with suppress(RandomnessError):
            random.random()

    with pytest.raises(RandomnessError, match=r"random\.random"), forbid_randomness():
        other = threading.Thread(target=draw)
        other.start()
        other.join()
