"""Cumulants of a layer of activations from those of its pre-activations, by diagrams."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from outsample.cumulants.diagrams import cumulant_from_powers
from outsample.cumulants.program import Factor, Program, all_diagrams
from outsample.cumulants.symmetric import SymmetricTensor, along, placed
from outsample.networks.activations.base import Expansion


class PowerCumulants:
    """Estimated cumulants of φ(Z) for one layer of n neurons.

    ``slice`` reads the cumulants of Z; ``evaluate`` sums diagrams; ``of_powers`` is the sum of all
    diagrams, right for distinct neurons; ``complete`` is right for coinciding ones as well, and is
    what a caller wants.

    Args:
        kappa: cumulants by order, from 2, of the pre-activations in units of
            ``expansion.scale``; orders that are missing vanish.
        expansion: of the activation at their means and variances.
        budget: largest cost of a diagram: K − 1 (basic) or K (augmented).
    """

    def __init__(
        self, kappa: Mapping[int, SymmetricTensor], expansion: Expansion, budget: int
    ) -> None:
        self.kappa, self.budget = kappa, budget
        self._expansion = expansion
        self.orders = frozenset(kappa)
        self._slices: dict[tuple[int, ...], Tensor] = {}
        self._sums: dict[tuple[Program, tuple[int, ...]], Tensor] = {}
        self._factors: dict[tuple[Factor, int, tuple[int, ...]], Tensor] = {}
        self._complete: dict[tuple[int, ...], Tensor] = {}
        self._powers: dict[tuple[int, ...], Tensor] = {}
        self._coefficients: dict[tuple[int, int], Tensor] = {}
        self._shift_powers: list[Tensor] = []
        #: Mean of φ(Z) minus what it is at a Gaussian Z, shape (n,); None where it is zero.
        self.shift: Tensor | None = None
        if len(all_diagrams(1, budget, self.orders).products) > 1:
            self.shift = self.of_powers((1,))
            self._powers.clear()
            self._coefficients.clear()
            self._factors.clear()
            self._sums.clear()

    @property
    def mean(self) -> Tensor:
        """Mean of φ(Z), shape (n,)."""
        return self._expansion.mean if self.shift is None else self._expansion.mean + self.shift

    def of_powers(self, powers: tuple[int, ...]) -> Tensor:
        """κ(φ_i^p1, φ_j^p2, …) of the centred activations, at every index as if distinct."""
        if powers not in self._powers:
            program = all_diagrams(len(powers), self.budget, self.orders)
            self._powers[powers] = self.evaluate(program, powers)
        return self._powers[powers]

    def complete(self, multiplicities: tuple[int, ...]) -> Tensor:
        """κ with φ_i q1 times, φ_j q2 times, …: right at every index, coincidences included."""
        if multiplicities in self._complete:
            return self._complete[multiplicities]
        m = len(multiplicities)
        total: Tensor | None = None
        for coefficient, factors in cumulant_from_powers(multiplicities):
            term: Tensor | None = None
            for factor in factors:
                axes = tuple(a for a in range(m) if factor[a])
                value = placed(self.of_powers(tuple(factor[a] for a in axes)), axes, m)
                term = value if term is None else term * value
            assert term is not None
            if total is None:
                total = term.clone() if coefficient == 1 else term * coefficient
            else:
                total = total.add_(term, alpha=coefficient)
        assert total is not None
        for a in range(m):
            for b in range(a + 1, m):
                rest = (q for c, q in enumerate(multiplicities) if c not in (a, b))
                merged = (*rest, multiplicities[a] + multiplicities[b])
                total.diagonal(0, a, b).copy_(self.complete(merged))
        self._complete[multiplicities] = total
        return total

    def evaluate(self, program: Program, powers: tuple[int, ...]) -> Tensor:
        """What a sum of diagrams comes to for powers of the activations, one axis a neuron."""
        value = self._sum(program, powers)
        shape = (len(self._expansion.mean),) * len(powers)
        if value.shape == shape and len(program.products) > 1:
            return value  # a sum, made for this call
        return value.expand(shape).clone()

    def summed(self, program: Program, powers: tuple[int, ...]) -> Tensor:
        """Like :meth:`evaluate`, summed over the first neuron, which differs from all others."""
        total: Tensor | None = None
        for first in range(len(self._expansion.mean)):
            value = self._sum(program, powers, first)[0]
            for axis in range(value.dim()):
                value.select(axis, first).zero_()
            total = value if total is None else total.add_(value)
        assert total is not None
        return total

    def coefficient(self, degree: int, power: int = 1) -> Tensor:
        """e_{k,p} of the activation, about the mean of φ(Z) rather than its Gaussian mean."""
        key = degree, power
        if key not in self._coefficients:
            self._coefficients[key] = self._centred(degree, power)
        return self._coefficients[key]

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        """Entries of a cumulant of Z in which i appears multiplicities[0] times, and so on."""
        if multiplicities not in self._slices:
            # the most frequent first; other orders are views of that
            order = sorted(range(len(multiplicities)), key=lambda a: -multiplicities[a])
            most_first = tuple(multiplicities[a] for a in order)
            if most_first == multiplicities:
                entries = self.kappa[sum(multiplicities)].slice(multiplicities)
            else:
                entries = self.slice(most_first).movedim(tuple(range(len(order))), tuple(order))
            self._slices[multiplicities] = entries
        return self._slices[multiplicities]

    def _centred(self, degree: int, power: int) -> Tensor:
        e = self._expansion.coefficient
        if self.shift is None:
            return (
                torch.zeros_like(self._expansion.mean)
                if _is_mean(degree, power)
                else e(degree, power)
            )
        if power == 1:
            return e(degree) if degree else -self.shift
        total = e(degree, power)
        for q in range(power - 1, 0, -1):
            if not _is_mean(degree, q):
                ways = (-1) ** (power - q) * math.comb(power, q)
                total = torch.addcmul(total, self._shifts(power - q), e(degree, q), value=ways)
        return total if degree else total.add(self._shifts(power), alpha=(-1) ** power)

    def _shifts(self, power: int) -> Tensor:
        """A power of the shift of the mean."""
        assert self.shift is not None
        if not self._shift_powers:
            self._shift_powers.append(self.shift)
        while len(self._shift_powers) < power:
            self._shift_powers.append(self._shift_powers[-1] * self.shift)
        return self._shift_powers[power - 1]

    def _sum(self, program: Program, powers: tuple[int, ...], first: int | None = None) -> Tensor:
        """Evaluate a program, at one value of the first index if ``first`` is given."""
        total: Tensor | None = None
        own = False
        for product, fits in zip(program.products, program.fits, strict=True):
            factor, weight = self._factor(product.factor, powers), product.weight
            if first is not None and 0 in product.factor.axes:
                factor = factor.narrow(0, first, 1)
            rest = None if product.rest is None else self._rest(product.rest, powers, first)
            if total is None:
                total = factor if weight == 1 else factor * weight
                total = total if rest is None else total * rest
                own = rest is not None or weight != 1
                continue
            if rest is None:
                add = total.add_ if own and fits else total.add
                total = add(factor, alpha=weight)
            else:
                add = total.addcmul_ if own and fits else total.addcmul
                total = add(factor, rest, value=weight)
            own = True
        assert total is not None
        if program.constant:
            total = total + program.constant
        return total

    def _rest(self, program: Program, powers: tuple[int, ...], first: int | None) -> Tensor:
        """A sum within a product: matrices and cumulants alone are kept for other powers."""
        if first is not None or (program.weighted and len(program.axes) > 2):
            return self._sum(program, powers, first)
        key = program, tuple([powers[a] for a in program.weighted])
        if key not in self._sums:
            self._sums[key] = self._sum(program, powers)
        return self._sums[key]

    def _factor(self, factor: Factor, powers: tuple[int, ...]) -> Tensor:
        """Cumulants times coefficients, small tensors all, shared by the programs of a layer."""
        m = len(powers)
        key = factor, m, tuple([powers[a] for a, _ in factor.coefficients])
        if key not in self._factors:
            self._factors[key] = self._product(factor, powers)
        return self._factors[key]

    def _product(self, factor: Factor, powers: tuple[int, ...]) -> Tensor:
        m = len(powers)
        if m > 1 and len(factor.axes) == 1:  # the same at every neuron
            (a,) = factor.axes
            return along(self._factor(factor.alone, (powers[a],)), a, m)
        value: Tensor | None = None
        for block in factor.blocks:
            entries = placed(self.slice(tuple(v for v in block if v)), factor.axes, m)
            value = entries if value is None else value * entries
        for a, degree in factor.coefficients:
            e = along(self.coefficient(degree, powers[a]), a, m)
            value = e if value is None else value * e
        assert value is not None
        return value


def _is_mean(degree: int, power: int) -> bool:
    """Whether a coefficient is the mean of a centred activation: zero."""
    return degree == 0 and power == 1
