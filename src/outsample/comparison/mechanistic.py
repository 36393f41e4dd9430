"""Verifies that an estimator which calls itself mechanistic draws no random numbers."""

import gc
import inspect
import os
import pickle
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.random import bit_generator
from torch.utils._python_dispatch import TorchDispatchMode

from outsample.errors import RandomnessError

_TorchGenerator = torch.Generator  # the class itself: torch.Generator is replaced in the block
_RandomState = np.random.RandomState
_STATEFUL = (np.random.BitGenerator, _RandomState, random.Random)


@contextmanager
def forbid_randomness(search: bool = True) -> Generator[None]:
    """Forbid random, pseudorandom and quasirandom numbers while the block runs.

    Refused at once, with the name of what was called:

    - PyTorch operations that draw, from the default generators or from a generator made
      beforehand, and Sobol engines (of PyTorch and of ``scipy.stats.qmc``);
    - the functions of ``random``, ``numpy.random``, ``secrets``, and ``os.urandom``;
    - creation and seeding of generators: PyTorch's, every bit generator of NumPy and what is
      built on one (``default_rng``, ``RandomState``, …), ``SeedSequence``, ``random.Random`` and
      ``random.SystemRandom``.

    Found when the block ends: a changed state of a global generator, or of any generator object
    of NumPy or ``random`` that existed before, whoever holds it.  ``search=False`` leaves out the
    latter, and with it a search of the whole memory for such objects (about 0.1 s).

    Everything is put back afterwards, the states of generators included.  Threads that ran before
    (those of a cluster's worker, say) may go on drawing from ``random``, ``numpy.random`` and the
    system, but not from PyTorch's default generators.  It is made for mistakes, not for
    deceit: pseudorandom numbers computed by arithmetic of one's own, or ``from os import urandom``
    done beforehand, pass.

    Raises:
        RandomnessError: naming what was done, also if the block swallowed the first refusal.

    Example:
        >>> with forbid_randomness():
        ...     torch.randn(3)
        Traceback (most recent call last):
        outsample.errors.RandomnessError: ... torch operation aten::randn ...
    """
    watch = _Watch()
    states = _States(search)
    undo = _replace(watch)
    try:
        with _RefuseDraws(watch):
            yield
    except Exception as error:
        if watch.findings and str(error) != watch.findings[0]:
            raise RandomnessError(watch.findings[0]) from error
        raise
    finally:
        watch.active = False
        for put_back in reversed(undo):
            put_back()
        changed = states.restore(keep=watch.others_drew)
    if changed or watch.findings:
        raise RandomnessError((watch.findings or [_message(changed[0])])[0])


class _Watch:
    """What was found so far; an inactive watch lets everything pass."""

    def __init__(self) -> None:
        self.active = True
        self.findings: list[str] = []
        self._others = {t.ident for t in threading.enumerate()} - {threading.get_ident()}
        #: Whether another thread drew, so that a changed state need not be the block's doing.
        self.others_drew = False

    def refuse(self, what: str) -> None:
        if threading.get_ident() in self._others:
            self.others_drew = True
        elif self.active and not _importing():
            self.findings.append(_message(what))
            raise RandomnessError(self.findings[-1])


def _importing() -> bool:
    """Modules that are first imported in the block may make generators (sympy does)."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _message(what: str) -> str:
    return (
        f"a mechanistic estimator used {what}; mechanistic estimators draw no random numbers: "
        "remove it, or declare the estimator with mechanistic = False"
    )


class _States:
    """States of the global generators and of every generator object of NumPy and ``random``."""

    def __init__(self, search: bool) -> None:
        self._torch = _torch_states()
        shared: dict[Any, str] = {
            random.getstate.__self__: "random",  # pyright: ignore
            np.random.get_state.__self__: "numpy.random",  # pyright: ignore
        }
        named = [(f"the global generator of {name}", g) for g, name in shared.items()]
        if search:
            named += [(f"a {type(g).__name__} made beforehand", g) for g in _generators()]
        self._objects = [(name, generator, _state(generator)) for name, generator in named]

    def restore(self, keep: bool) -> list[str]:
        """Put every state back; return the names of the generators whose state had changed.

        ``keep``: leave out Python's and NumPy's, because another thread drew from them.
        """
        changed: list[str] = []
        now = _torch_states()
        for device, state in self._torch.items():
            if device in now and not torch.equal(state, now[device]):
                changed.append(f"the default generator of torch on {device}")
                _set_torch_state(device, state)
        for name, generator, state in [] if keep else self._objects:
            if pickle.dumps(_state(generator)) != pickle.dumps(state):
                changed.append(name)
                if isinstance(generator, random.Random):
                    generator.setstate(state)
                elif isinstance(generator, _RandomState):
                    generator.set_state(state)
                else:
                    generator.state = state
        return changed


def _generators() -> list[Any]:
    """Every generator object of NumPy and ``random`` in memory that has a state."""
    objects = gc.get_objects()
    # By type: isinstance would run the code of proxies and lazy modules.
    kinds = {
        kind
        for kind in set(map(type, objects))
        if issubclass(kind, _STATEFUL) and not issubclass(kind, random.SystemRandom)
    }
    return [found for found in objects if type(found) in kinds]


def _state(generator: Any) -> Any:
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, _RandomState):  # keeps a spare normal besides its bit generator
        return generator.get_state(legacy=False)
    return generator.state


def _torch_states() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_initialized():
        for i, state in enumerate(torch.cuda.get_rng_state_all()):
            states[f"cuda:{i}"] = state
    return states


def _set_torch_state(device: str, state: torch.Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


class _RefuseDraws(TorchDispatchMode):
    """Refuses PyTorch operations that draw; sees every operation, whatever called it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or the first operation would load PyTorch's compiler, for seconds

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if any(isinstance(a, _TorchGenerator) for a in (*args, *kwargs.values())):
            self._watch.refuse(f"torch operation {func.name()} with a generator made beforehand")
        # The tag says "may draw": attention and dropout only do so with p > 0.
        before = _torch_states()
        result = func(*args, **kwargs)
        after = _torch_states()
        if any(not torch.equal(state, after[device]) for device, state in before.items()):
            self._watch.refuse(f"torch operation {func.name()} with the default generator")
        return result


def _replace(watch: _Watch) -> list[Callable[[], None]]:
    """Put refusals in place of what makes or seeds generators or draws; return the undoing."""
    from scipy.stats import qmc  # slow to import

    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str, new: Any) -> None:
        undo.append(partial(setattr, owner, name, getattr(owner, name)))
        setattr(owner, name, new)

    def refuse(owner: Any, name: str, what: str) -> None:
        put(owner, name, _refusing(watch, getattr(owner, name), what))

    for name in set(random.__all__) - {"getstate", "Random", "SystemRandom"}:
        refuse(random, name, f"random.{name}")
    refuse(random.Random, "__init__", "random.Random()")
    for name in ("random", "getrandbits", "randbytes"):  # every other method, and secrets, use them
        refuse(random.SystemRandom, name, f"random.SystemRandom.{name}")
    for name in ("urandom", "getrandom"):
        if hasattr(os, name):
            refuse(os, name, f"os.{name}")

    for name in set(np.random.__all__) - {"get_state"}:
        if not isinstance(getattr(np.random, name), type):
            refuse(np.random, name, f"numpy.random.{name}")
    put(np.random, "SeedSequence", _stand_in(watch, np.random.SeedSequence, "numpy.random."))
    # Every bit generator asks on creation whether its seed is one of these: a question put in
    # one place, which also answers for classes that were imported under other names.
    put(bit_generator, "ISeedSequence", _seed_question(watch, bit_generator.ISeedSequence))

    put(torch, "Generator", _stand_in(watch, torch.Generator, "torch."))
    for owner in (torch, torch.random):
        for name in ("seed", "manual_seed", "set_rng_state"):
            refuse(owner, name, f"torch.{name}")
    for owner, name in ((torch.quasirandom.SobolEngine, "draw"), (qmc.QMCEngine, "random")):
        for method in ("__init__", name):
            refuse(owner, method, f"{owner.__name__}.{method}")
    return undo


def _refusing(watch: _Watch, original: Any, what: str) -> Callable[..., Any]:
    """``original`` as long as nobody watches: a module imported meanwhile may keep this."""

    def refusing(*args: Any, **kwargs: Any) -> Any:
        watch.refuse(what)
        return original(*args, **kwargs)

    return refusing


def _stand_in(watch: _Watch, original: type, module: str) -> type:
    """A class that cannot be called but answers isinstance and issubclass like ``original``."""

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            watch.refuse(f"{module}{original.__name__}()")
            return original(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, original)

    return Meta(original.__name__, (), {"__doc__": original.__doc__})


def _seed_question(watch: _Watch, original: type) -> type:
    class Meta(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            watch.refuse("a new bit generator of numpy.random")
            return isinstance(instance, original)

    return cast(type, Meta("ISeedSequence", (), {}))
