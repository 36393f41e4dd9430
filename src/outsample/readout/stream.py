"""Hermite tensors learned while the readout is trained, from the examples and their residuals."""

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from outsample.distributions import Gaussian
from outsample.errors import InputError, UnsupportedProblem
from outsample.readout.coefficients import hermite_coefficients
from outsample.readout.hermite_tensors import HermiteTensors, second_from_tensors
from outsample.readout.problem import TwoLayer
from outsample.readout.recurrence import Recurrence
from outsample.readout.symmetric import (
    apply_to_rows,
    entries,
    norm_squared,
    powers,
    sum_of_powers,
)
from outsample.readout.wide_limit import EXACT, WideLimit, with_identities

Form = Literal["wide", "hybrid"]
#: Examples gathered before they are added up.
_WINDOW = 2048
#: Hidden units by which a step's gradient is checked, and how far it may be off.
_CHECKED, _OFF = 8, 1e-2


class HermiteStream:
    """Follows ``torch.optim.SGD`` on the readout of a two-layer network and keeps its tensors.

    Made by :meth:`outsample.readout.HermiteExplainer.watch`.  The hidden layer must stay fixed.
    After each step of the optimiser, examples and residuals of that step are taken in; momentum,
    weight decay, gradient clipping and schedules of the rate are followed exactly.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        inputs: Gaussian | None,
        degree: int,
        form: Form,
    ) -> None:
        if type(optimizer) is not torch.optim.SGD:
            raise UnsupportedProblem(
                f"HermiteStream: the optimiser is {type(optimizer).__name__}; expected "
                "torch.optim.SGD, whose steps are linear in the gradients; explain the network "
                "when training ends instead"
            )
        problem = TwoLayer.from_module(module, inputs)
        net = problem.whitened()
        if problem.readout.dim() != 1 or not net.centred:
            raise UnsupportedProblem(
                "HermiteStream: expected one readout and hidden units of mean zero (no biases, "
                "inputs of mean zero); explain the network when training ends instead"
            )
        last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
        hidden = [p for p in module.parameters() if p is not last.weight and p is not last.bias]
        moved = [p for group in optimizer.param_groups for p in group["params"]]
        if any(p is q for p in hidden for q in moved):
            raise UnsupportedProblem(
                "HermiteStream: the optimiser also moves the hidden layer; only the readout may be "
                "trained (see the theory page for what else works)"
            )
        if not any(last.weight is q for q in moved):
            raise InputError("HermiteStream: the optimiser does not move the readout")
        self._module, self._last, self._optimizer = module, last, optimizer
        self._net, self._inputs, self._form = net, problem.law, form
        self._parameters = problem.parameters
        n = net.size[0]
        e = hermite_coefficients(net.activation, net.means, net.lengths, max(degree, EXACT))
        size = float(e[:2].abs().sum())
        active = [d for d in range(len(e)) if float(e[d].abs().sum()) > 1e-12 * size]
        self._e = e
        self._degrees = [d for d in active if d <= degree]
        self._exact = [d for d in active if d <= EXACT] if form == "hybrid" else []
        tau = float(net.lengths.square().mean()) ** 0.5 / math.sqrt(n)
        self._wide = WideLimit.of(net.activation, n, tau, self._degrees, form == "hybrid")
        self._start = net.readouts[0].clone()
        self._base = torch.tensor([1.0, 0.0], dtype=torch.float64)
        self._recurrence = Recurrence()
        self._sums = [self._zeros(), self._zeros()]
        self._window: list[tuple[Tensor, Tensor]] = []
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._root = self._inverse_root()
        #: Steps, examples, seconds of this stream's own work and of training without it.
        self.steps = 0
        self.examples = 0
        self.seconds = 0.0
        self.training_seconds = 0.0
        self._began = time.perf_counter()
        self._handles = [
            module.register_forward_hook(self._see),
            optimizer.register_step_post_hook(self._follow),
        ]

    def close(self) -> None:
        """Take the hooks off; what was learned stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @property
    def time_ratio(self) -> float:
        """Seconds of explaining over seconds of training, so far."""
        return self.seconds / max(self.training_seconds, 1e-12)

    def explanation(self, directions: int = 2) -> HermiteTensors:
        """The tensors as learned, and what follows from them alone; the readout is not read.

        Variance and directions are those of the degrees that are there.

        Args:
            directions: how many directions of least linearity.
        """
        with torch.no_grad():
            packed = self._tensors()
            second = second_from_tensors(packed, self._net.size[0])
            return HermiteTensors.finish(self._net, packed, second, directions)

    def report(self) -> dict[str, Any]:
        """Norms by degree, predicted errors of the wide limit, and the audit against the readout.

        A degree whose part of the variance is below a thousandth is not resolved.
        """
        advice = self.explanation()
        n, m = self._net.size
        problem = TwoLayer.from_module(self._module, self._inputs)
        parts = (advice.explained()[0] / advice.variance[0].clamp_min(1e-300)).tolist()
        return {
            "norms": {
                d: float(norm_squared(t[0], n, d).sqrt())
                for d, t in enumerate(advice.tensors_by_degree)
                if t.shape[1]
            },
            "predicted_errors": {d: math.sqrt(entries(n, d) / m) for d in self._degrees},
            "unresolved": [d for d, part in enumerate(parts, 1) if 0 < part < 1e-3],
            "audit": advice.audit(problem),
            "time_ratio": self.time_ratio,
        }

    def state_dict(self) -> dict[str, Any]:
        """What a later stream on the same network needs to go on; tensors and numbers only."""
        self._flush()
        return {
            "sums": list(self._sums),
            "base": self._base.clone(),
            "start": self._start.clone(),
            "started": self._recurrence.started,
            "steps": self.steps,
            "examples": self.examples,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` of an earlier stream returned.

        Raises:
            InputError: if it is of another network, degree or form.
        """
        sums: list[Tensor] = list(state["sums"])
        if [t.shape for t in sums] != [t.shape for t in self._sums] or (
            state["start"].shape != self._start.shape
        ):
            raise InputError(
                "HermiteStream: the state is of a stream with another size, degree or form"
            )
        self._sums = [t.clone() for t in sums]
        self._base, self._start = state["base"].clone(), state["start"].clone()
        self._recurrence = Recurrence(bool(state["started"]))
        self._window, self._pending = [], []
        self.steps, self.examples = int(state["steps"]), int(state["examples"])
        self.seconds = float(state["seconds"])
        self.training_seconds = float(state["training_seconds"])
        self._began = time.perf_counter()

    # Hooks.

    def _see(self, module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the inputs of a forward pass and, when they come, the gradients of its outputs."""
        del module
        if not output.requires_grad:
            return
        x = given[0].detach()
        output.register_hook(lambda g: self._pending.append((x, g.detach().reshape(-1))))

    def _follow(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Take in one step."""
        del args, kwargs
        start = time.perf_counter()
        self.training_seconds += start - self._began
        with torch.no_grad():
            group = next(
                g
                for g in optimizer.param_groups
                if any(p is self._last.weight for p in g["params"])
            )
            if self._last.weight.grad is not None:
                x = torch.cat([x for x, _ in self._pending]).double()
                g = torch.cat([g for _, g in self._pending]).double()
                z = x if self._root is None else (x - self._inputs.mean.double()) @ self._root
                self._window.append((z, g * self._scale(z, g)))
                self._recurrence.step(group)
                self.steps += 1
                self.examples += len(z)
            self._pending = []
            if sum(len(g) for _, g in self._window) >= _WINDOW:
                self._flush()
        self._began = time.perf_counter()
        self.seconds += self._began - start

    def _scale(self, z: Float[Tensor, "t n"], g: Float[Tensor, " t"]) -> float:
        """By how much the gradient was scaled since it was computed, from a few hidden units.

        Raises:
            InputError: if the gradient is not a multiple of the one that was seen.
        """
        rows = slice(0, _CHECKED)
        seen = g @ self._net.activation(z @ self._net.weights[rows].T)
        given = self._last.weight.grad
        given = torch.zeros_like(seen) if given is None else given.reshape(-1)[rows].double()
        size = float(seen @ seen)
        if size == 0:
            return 1.0
        scale = float(given @ seen) / size
        if float((given - scale * seen).norm()) > _OFF * max(float(given.norm()), 1e-12):
            raise InputError(
                "HermiteStream: the gradient of the readout is not that of the examples seen since "
                "the last step; call zero_grad before every backward pass, and step after it"
            )
        return scale

    # Sums.

    def _flush(self) -> None:
        """Add up the examples of the window with the coefficients they have got to."""
        if not self._window:
            return
        c = self._recurrence.coefficients
        z = torch.cat([z for z, _ in self._window])
        g = torch.cat([g for _, g in self._window])
        lengths = torch.tensor([len(g) for _, g in self._window])
        weights = c[:, 2:].repeat_interleave(lengths, 1) * g
        used = [i for i in (0, 1) if bool((weights[i] != 0).any())]
        added = [self._zeros(), self._zeros()]
        for i in used:
            added[i] = self._add_up(z, weights[i])
        self._sums = [c[i, 0] * self._sums[0] + c[i, 1] * self._sums[1] + added[i] for i in (0, 1)]
        self._base = c[:, :2] @ self._base
        self._window = []
        self._recurrence.restart()

    @property
    def _orders(self) -> list[int]:
        """Order of each accumulated sum: those of the wide limit, then plain moments."""
        return [d - 2 * k for d, k in self._wide.parts] + self._exact

    def _zeros(self) -> Tensor:
        n = self._net.size[0]
        return torch.zeros(sum(entries(n, p) for p in self._orders), dtype=torch.float64)

    def _add_up(self, z: Float[Tensor, "t n"], weights: Float[Tensor, " t"]) -> Tensor:
        """All sums over examples, packed one after another."""
        radius = z.norm(dim=1).clamp_min(1e-300)
        factors = list(self._wide.at(radius) * weights)
        orders = self._orders
        for i, p in enumerate(orders[: len(factors)]):
            factors[i] = factors[i] / radius**p
        factors += [weights] * len(self._exact)
        found: dict[int, Tensor] = {}
        for p in set(orders):
            chosen = [i for i, q in enumerate(orders) if q == p]
            stacked = torch.stack([factors[i] for i in chosen])
            rows = stacked @ powers(z, p) if p < 4 else sum_of_powers(z, stacked, p)
            found |= dict(zip(chosen, rows, strict=True))
        return torch.cat([found[i] for i in range(len(orders))])

    def _tensors(self) -> list[Tensor]:
        """Packed T_0, T_1, … from the sums, each of shape (1, entries)."""
        self._flush()
        net, n = self._net, self._net.size[0]
        sizes = [entries(n, p) for p in self._orders]
        sums = self._sums[0].split(sizes)
        units = net.size[1]
        found = {d: torch.zeros(entries(n, d), dtype=torch.float64) for d in self._degrees}
        for (d, k), part in zip(self._wide.parts, sums, strict=False):
            found[d] += units * with_identities(part, n, d - 2 * k, k)
        readout = self._base[0] * self._start
        if self._exact:
            readout = readout + self._readout_of_moments(sums[len(self._wide.parts) :])
        if bool((readout != 0).any()):
            for d in self._degrees:
                found[d] += sum_of_powers(net.directions, (readout * self._e[d])[None], d)[0]
        if 0 not in found:
            found[0] = torch.zeros(1, dtype=torch.float64)
        for name, bias in self._last.named_parameters():
            if name == "bias":
                found[0] += float(bias.detach().double())
        highest = max(1, *self._degrees)
        empty = torch.zeros(1, 0, dtype=torch.float64)
        packed = [found[d][None] if d in found else empty for d in range(highest + 1)]
        if packed[1].shape[1] == 0:
            packed[1] = torch.zeros(1, n, dtype=torch.float64)
        return packed

    def _readout_of_moments(self, moments: tuple[Tensor, ...]) -> Float[Tensor, " m"]:
        """The readout that the part of φ of degree up to 4 has learned: Σ_e e_e/e! ⟨u^e, S_e⟩."""
        u = self._net.directions
        zero = torch.zeros(self._net.size[1], dtype=torch.float64)
        raw = dict.fromkeys(range(EXACT + 1), zero) | {
            e: apply_to_rows(m[None], u, e)[0] for e, m in zip(self._exact, moments, strict=True)
        }
        series = {
            0: raw[0],
            1: raw[1],
            2: raw[2] - raw[0],
            3: raw[3] - 3 * raw[1],
            4: raw[4] - 6 * raw[2] + 3 * raw[0],
        }
        return sum((self._e[e] / math.factorial(e) * series[e] for e in self._exact), start=zero)

    def _inverse_root(self) -> Tensor | None:
        """F⁻ᵀ with z = (x - mean) F⁻ᵀ, or None for standard normal inputs."""
        law = self._inputs
        n = law.shape[0]
        root = law.to(torch.float64, law.device).square_root()
        if torch.equal(root, torch.eye(n, dtype=torch.float64)):
            return None
        return torch.linalg.inv(root).T
