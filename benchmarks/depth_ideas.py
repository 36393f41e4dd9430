"""Experimental variants of order 3 for deep networks; ``depth.py`` measures them.

The cumulants of a layer are κ_2 in full, κ_3 as births (one for each earlier layer) and what is
kept of its trace, and κ_4 as a multiple of Sym(G ⊗ G) or as Sym(A ⊗ G), on top of a core in the
leading eigenspace of the covariance.  G is the identity, as published, or the covariance itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import outsample as ou
from outsample.cumulants.factored_step import hollow, partial_trace3
from outsample.cumulants.hubs import Birth3
from outsample.cumulants.power_cumulants import PowerCumulants
from outsample.cumulants.program import without_pendant
from outsample.cumulants.symmetric import Dense, SymmetricTensor, Traced
from outsample.networks.graph import Affine


@dataclass(frozen=True)
class Idea:
    """Settings of one variant."""

    #: Largest cost of a diagram.
    budget: int = 3
    #: Whether G is the covariance of the activations rather than the identity.
    metric: bool = True
    #: Whether A is fitted to the partial trace of κ_4 rather than one number to its full trace.
    partial: bool = False
    #: Directions in which κ_4 is kept in full.
    rank: int = 0
    #: Births of κ_3 that are kept (None: all; 0: order 2).
    window: int | None = None
    #: A birth with a smaller share of ‖κ_iij‖ is dropped.
    tolerance: float = 0.0
    #: Whether what is dropped leaves its trace, Sym(a ⊗ G).
    fold: bool = False
    #: Leading directions in which what is dropped is kept in full.
    directions: int = 0
    #: Whether births are stored in bfloat16.
    half: bool = False


@dataclass(frozen=True)
class Core(SymmetricTensor):
    """Σ T_ab… V_ia V_jb …: order 3 or 4 in a subspace."""

    basis: Tensor
    core: Tensor

    @property
    def order(self) -> int:
        return self.core.dim()

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        v, first = self.basis, multiplicities[0]
        if multiplicities[-1] > first:
            return self.slice(multiplicities[::-1]).T
        out = v @ self.core.reshape(v.shape[1], -1)
        rest = self.order - 1
        for _ in range(first - 1):
            out = (out.view(len(v), v.shape[1], -1) * v[:, :, None]).sum(1)
            rest -= 1
        if rest == 0:
            return out.view(-1)
        if rest == 1:
            return out @ v.T
        pairs = (v[:, :, None] * v[:, None]).flatten(1)
        return out @ pairs.T

    def through(self, weight: Tensor) -> "Core":
        return Core(weight @ self.basis, self.core)

    def against(self, matrix: Tensor) -> Tensor:
        v, k = self.basis, self.basis.shape[1]
        if matrix.dim() == 1:
            return v @ torch.mv(self.core.reshape(-1, k), v.T @ matrix).view(k, k) @ v.T
        half = (v @ self.core.reshape(k, -1)).view(-1, k, k)
        return (half @ (matrix @ v)[:, :, None]).squeeze(2) @ v.T


@dataclass(frozen=True)
class Wedge(SymmetricTensor):
    """Q_icd V_jc V_kd, summed over the three places of i."""

    q: Tensor
    basis: Tensor

    @property
    def order(self) -> int:
        return 3

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        v = self.basis
        pairs = (v[:, :, None] * v[:, None]).flatten(1)
        out = pairs @ self.q.flatten(1).T + 2 * (self.q @ v[:, :, None]).squeeze(2) @ v.T
        return {(2, 1): out, (1, 2): out.T, (3,): out.diagonal()}[multiplicities]

    def through(self, weight: Tensor) -> "Wedge":
        q = (weight @ self.q.flatten(1)).view(-1, *self.q.shape[1:])
        return Wedge(q, weight @ self.basis)

    def against(self, matrix: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class Sum(SymmetricTensor):
    """A sum of symmetric tensors, among them births of κ_3 in any dtype."""

    parts: tuple[Any, ...]
    births: tuple[Birth3, ...] = ()

    @property
    def order(self) -> int:
        return 3 if self.births else self.parts[0].order

    def slice(self, multiplicities: tuple[int, ...]) -> Tensor:
        out = sum((part.slice(multiplicities) for part in self.parts), torch.tensor(0.0))
        view = {(2, 1): lambda x: x, (1, 2): lambda x: x.T, (3,): torch.diagonal}
        for repeated in self.repeated:
            out = out + view[multiplicities](repeated)
        return out

    @property
    def repeated(self) -> tuple[Tensor, ...]:
        """κ_iij of every birth; computed once."""
        if "repeated" not in self.__dict__:
            self.__dict__["repeated"] = tuple(b.slice().float() for b in self.births)
        return self.__dict__["repeated"]

    def through(self, weight: Tensor, metric: Tensor | None = None) -> "Sum":
        """After a linear map; if given, ``metric`` is what the covariance has become."""
        births = tuple(b.through(weight.to(b.factors.dtype)) for b in self.births)
        parts = tuple(
            Traced(part.core.through(weight), metric)
            if metric is not None and isinstance(part, Traced)
            else part.through(weight)
            for part in self.parts
        )
        return Sum(parts, births)

    def against(self, matrix: Tensor) -> Tensor:
        out = sum((part.against(matrix) for part in self.parts), torch.tensor(0.0))
        for b in self.births:
            out = out + b.against(matrix.to(b.factors.dtype)).float()
        return out


def third(
    pc: PowerCumulants, idea: Idea, covariance: Tensor, past: Sum | None
) -> tuple[Sum, Birth3 | None, tuple[SymmetricTensor, ...], float]:
    """Older parts of κ_3 that are kept, the new birth, the new parts, and the largest share lost.

    The older parts still lack the slope of this activation, the new ones have it.
    """
    e1, e2 = pc.coefficient(1), pc.coefficient(2)
    slope3 = (e1 * e1)[:, None] * e1
    repeated = pc.complete((2, 1)).clone()
    vector = torch.zeros_like(e1)
    new: list[SymmetricTensor] = []
    kept, lost, older = (), 0.0, []
    if past is not None:
        kept, dropped, lost = split(past, idea)
        older = [part for part in past.parts if not (idea.metric and isinstance(part, Traced))]
        for part in past.parts:
            if idea.metric and isinstance(part, Traced):
                vector = vector + e1 * part.core.slice((1,))
        gone = sum((past.repeated[i] for i in dropped), torch.zeros_like(slope3)) * slope3
        if idea.directions:
            basis = leading(covariance, idea.directions)
            core = torch.zeros((idea.directions,) * 3)
            for part in older:
                assert isinstance(part, Core)
                core = core + along_all(part.core, (basis.T * e1) @ part.basis)
            for i in dropped:
                birth = past.births[i]
                small = (basis.T * e1).to(birth.factors.dtype) @ birth.factors
                core = core + replace(birth, factors=small.float()).dense()
            gone = gone + sum((p.slice((2, 1)) for p in older), 0.0) * slope3
            older, new = [], [Core(basis, core)]
            gone = gone - new[0].slice((2, 1))
        if idea.fold:
            vector = vector + trace_vector(gone.sum(0), covariance)
    edge = hollow(pc.slice((1, 1)) * e1[:, None])
    factors, terms = [edge], [(0, 1, 1, e2 * 0.5), (0, 0, 2, 0.5)]
    head = edge * (e2 * 0.5)
    if pc.budget == 3:
        head = hollow(pc.evaluate(without_pendant(3, 3, pc.orders), (1, 1)))
        factors, terms = [edge, head], [(0, 1, 2, 1.0), (0, 0, 3, 0.5)]
        for part in parts_of(pc.kappa[4]) if 4 in pc.kappa else ():
            if isinstance(part, Core):
                v, r = part.basis, part.basis.shape[1]
                q = ((v @ part.core.reshape(r, -1)).view(-1, r, r * r) * v[:, :, None]).sum(1)
                new.append(Wedge(q.view(-1, r, r) * (0.5 * e2)[:, None, None], v * e1[:, None]))
                continue
            assert isinstance(part, Traced)
            core, metric = part.core.slice((1, 1)), part.metric
            scale = core.trace() / metric.trace()
            diagonal = e2 * (core.diagonal() + scale * metric.diagonal()) / 4
            if idea.metric:
                # the metric is the covariance: its part with a hub is an edge like the others
                head += hollow(core * e1[:, None]) * (e2 / 6)
                vector = vector + diagonal
            else:
                x = hollow(metric * e1[:, None])
                factors.append(x)
                terms = [(0, 1, 2, 1.0), (0, 3, 3, scale * e2 / 6), (0, 0, 4, 0.5)]
                repeated.addcmul_(x * x, scale * e2 / 6, value=-2)
                new.append(Traced(Dense(diagonal), metric * e1 * e1[:, None]))
    if idea.metric:
        new.append(Traced(Dense(vector), covariance))
    if idea.window == 0:
        a = trace_vector(repeated.sum(0), covariance)
        return Sum(()), None, (Traced(Dense(a), covariance),), lost
    repeated.addcmul_(edge, head, value=-2)
    for part in new:
        repeated -= part.slice((2, 1))
    for i in kept:
        repeated -= past.repeated[i] * slope3
    for part in older:
        repeated -= part.slice((2, 1)) * slope3
    repeated.diagonal().div_(3)
    birth = Birth3(torch.cat((*factors, repeated.T), 1), tuple(terms), len(e1))
    if idea.half:
        half = tuple((*p, w.bfloat16() if isinstance(w, Tensor) else w) for *p, w in terms)
        birth = replace(birth, factors=birth.factors.bfloat16(), terms=half)
    births = tuple(past.births[i] for i in kept) if past is not None else ()
    return Sum(tuple(older), births), birth, tuple(new), lost


def split(past: Sum, idea: Idea) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Which births to keep, which to drop, and the largest share of ‖κ_iij‖ dropped."""
    count = len(past.births)
    kept = list(range(count))
    shares = [0.0] * count
    if idea.tolerance:
        whole = float(past.slice((2, 1)).norm())
        shares = [float(x.norm()) / whole for x in past.repeated]
        kept = [i for i in kept if shares[i] >= idea.tolerance or i == count - 1]
    if idea.window is not None:
        kept = [i for i in kept if i >= count - idea.window + 1]
    dropped = tuple(i for i in range(count) if i not in kept)
    return tuple(kept), dropped, max((shares[i] for i in dropped), default=0.0)


def trace_vector(trace: Tensor, metric: Tensor) -> Tensor:
    """The a for which Σ_k Sym(a ⊗ G)_kki is ``trace``."""
    system = 2 * metric
    system.diagonal().add_(metric.trace())
    return 3 * torch.linalg.solve(system, trace)


def trace_matrix(trace: Tensor, metric: Tensor) -> Tensor:
    """The A for which Σ_k Sym(A ⊗ G)_kkij is ``trace``."""
    values, v = torch.linalg.eigh(metric)
    weight = 6 / (values.sum() + 2 * values[:, None] + 2 * values)
    a = (v.T @ trace @ v) * weight
    own = values / 6 * weight.diagonal()
    a.diagonal().sub_(a.trace() / (1 + own.sum()) * own)
    return v @ a @ v.T


def leading(covariance: Tensor, rank: int) -> Tensor:
    """Eigenvectors of the largest eigenvalues, (n, rank)."""
    return torch.linalg.eigh(covariance).eigenvectors[:, -rank:]


def along_all(tensor: Tensor, matrix: Tensor) -> Tensor:
    """The matrix applied to every leg."""
    for _ in range(tensor.dim()):
        tensor = torch.movedim(tensor @ matrix.T, -1, 0)
    return tensor


def legs(tensor: Tensor) -> Tensor:
    """Sum over the 24 orders of four legs."""
    out = tensor + tensor.transpose(0, 1)
    out = out + out.transpose(0, 2) + out.transpose(1, 2)
    return out + out.transpose(0, 3) + out.transpose(1, 3) + out.transpose(2, 3)


def pair_sums(kappa: Sum, b: Tensor) -> Tensor:
    """Σ_ij κ_ijk B_ia B_jb, [k, a, b], for κ_3."""
    n, r = b.shape
    out = torch.zeros(n, r * r)
    for birth in kappa.births:
        f = birth.factors.split(birth.hubs, 1)
        small = b.to(birth.factors.dtype).T
        g = [small @ x for x in f]
        left: dict[int, Tensor] = {}
        for x, y, z, w in birth.terms:
            for p, q, last in ((x, y, z), (y, z, x), (z, x, y)):
                m = ((g[p] * w)[:, None] * g[q]).flatten(0, 1)
                left[last] = left.get(last, 0) + m
        for last, m in left.items():
            out += f[last] @ m.T
    out = out.view(n, r, r)
    out = out + out.mT
    for part in kappa.parts:
        if isinstance(part, Wedge):
            v = part.basis.T @ b
            q = (b.T @ part.q.flatten(1)).view(r, *part.q.shape[1:])
            out = out + v.T @ part.q @ v
            side = torch.einsum("acd,cb,kd->kab", q, v, part.basis)
        else:
            a, g = part.core.slice((1,)), part.metric @ b
            out = out + a[:, None, None] * (b.T @ g) / 3
            side = g[:, :, None] * (a @ b) / 3
        out = out + side + side.mT
    return out


def core_of_fourth(pc: PowerCumulants, u: Tensor) -> Tensor:
    """κ_4 of φ(Z) contracted with u (n, r) on every leg: O(n² r²), and per birth of κ_3.

    Distinct neurons to cost 3 (paths, stars, κ_3 with an edge, κ_4), two that coincide to cost 2.
    """
    n, r = u.shape
    c = hollow(pc.slice((1, 1)).clone())
    e1, e2, e3 = (pc.coefficient(k) for k in (1, 2, 3))
    f1, curved = pc.coefficient(1, 2), pc.coefficient(2, 2) - 2 * e1 * e1
    b = u * e1[:, None]
    x = c @ b
    xx = (x[:, :, None] * x[:, None]).flatten(1)
    y = (x[:, :, None] * (u * e2[:, None])[:, None]).flatten(1)  # [j, leaf, hub]
    cy = c @ y
    star = ((u * e3[:, None])[:, :, None] * x[:, None]).flatten(1)
    shape = (r, r, r, r)
    total = legs((y.T @ cy).view(shape)) / 2 + legs((star.T @ xx).view(shape)) / 6
    double = curved[:, None] * xx + f1[:, None] * (cy.view(n, r, r) + cy.view(n, r, r).mT).flatten(
        1
    )
    slopes = e1 * e1
    mixed = (c * c) * curved[:, None] * slopes
    d22 = pc.complete((2, 2)) - mixed - mixed.T
    d31 = pc.complete((3, 1)) - 3 * (f1 * e1)[:, None] * (c * c) * e2
    d4 = pc.complete((4,)).clone()
    if 3 in pc.kappa:
        pairs = pair_sums(pc.kappa[3], b).flatten(1)
        double = double + f1[:, None] * pairs
        total = total + legs((pairs.T @ y).view(shape)) / 2
        s = pc.slice((2, 1))
        mixed = f1[:, None] * s.T * slopes
        d22 = d22 - mixed - mixed.T
        d31 = d31 - 3 * (f1 * e1)[:, None] * s * e1
        d4 = d4 - 6 * f1 * s.diagonal() * slopes
    if 4 in pc.kappa:
        for part in parts_of(pc.kappa[4]):
            if isinstance(part, Core):
                total = total + along_all(part.core, b.T @ part.basis)
            elif isinstance(part, Traced):
                core, g = b.T @ part.core.slice((1, 1)) @ b, b.T @ part.metric @ b
                total = total + Traced(Dense(core), g).slice((1, 1, 1, 1))
        q = pc.slice((2, 2)) * slopes * slopes[:, None]
        d22, d4 = d22 - q, d4 - q.diagonal()
    uu = (u[:, :, None] * u[:, None]).flatten(1)
    d22, d31 = hollow(d22), hollow(d31)
    total = total + legs((uu.T @ double).view(shape)) / 4 + legs((uu.T @ d22 @ uu).view(shape)) / 8
    alone = d31 @ u + u * d4[:, None] / 4
    return total + legs((uu.T @ (u[:, :, None] * alone[:, None]).flatten(1)).view(shape)) / 6


def fourth(pc: PowerCumulants, idea: Idea, covariance: Tensor) -> tuple[Tensor, Core | None]:
    """What is kept of κ_4 of φ(Z): A, or the number s for A = s G, and the core."""
    g = covariance if idea.metric else torch.eye(len(covariance))
    if idea.partial:
        return trace_matrix(partial_trace3(pc), g), None
    full = pc.complete((2, 2)).sum()
    size = g.trace() ** 2 + 2 * g.square().sum()
    if not idea.rank:
        return 3 * full / size, None
    u = None
    if 4 in pc.kappa:  # two steps of orthogonal iteration from the last layer's subspace
        u = parts_of(pc.kappa[4])[0].basis * pc.coefficient(1)[:, None]  # type: ignore
        for _ in range(2):
            u = torch.linalg.qr(covariance @ u).Q
    u = leading(covariance, idea.rank) if u is None else u
    core = core_of_fourth(pc, u)
    small = u.T @ g @ u
    # the subspace is taken out before the rest is fitted
    full = full - core.diagonal(0, 0, 1).diagonal(0, 0, 1).sum()
    size = size - small.trace() ** 2 - 2 * small.square().sum()
    scale = 3 * full / size
    return scale, Core(u, core - Traced(Dense(small * scale), small).slice((1, 1, 1, 1)))


def parts_of(kappa: SymmetricTensor) -> tuple[SymmetricTensor, ...]:
    """The terms of κ_4."""
    return kappa.parts if isinstance(kappa, Sum) else (kappa,)


@torch.no_grad()
def propagate(
    problem: ou.NetworkMean, idea: Idea, note: Callable[[dict[str, Any]], None] | None = None
) -> Tensor:
    """Mean output for a network on N(m, C); ``note`` sees every layer's state."""
    mean, covariance = problem.inputs.mean, problem.inputs.covariance
    state: tuple[Any, ...] | None = None
    steps = problem.graph().steps
    last = max(i for i, step in enumerate(steps) if not isinstance(step, Affine))
    weight = torch.eye(len(mean))
    for place, step in enumerate(steps):
        if isinstance(step, Affine):
            weight = step.weight
            mean, covariance = weight @ mean, weight @ covariance @ weight.T
            continue
        expansion = step.expand(mean, covariance.diagonal())
        precision = expansion.scale.reciprocal()
        scaled = weight * precision[:, None]
        pushed = covariance * precision * precision[:, None]
        kappa: dict[int, SymmetricTensor] = {2: Dense(pushed)}
        if state is not None:
            older, birth, new, (a, core), slope = state
            metric = pushed if idea.metric else None
            old = older.through(scaled * slope, metric)
            fresh = Sum(new, (birth,) if birth else ()).through(scaled, metric)
            kappa[3] = Sum((*old.parts, *fresh.parts), (*old.births, *fresh.births))
            g = pushed if idea.metric else scaled @ scaled.T
            kappa[4] = Traced(Dense(g * a if a.dim() == 0 else scaled @ a @ scaled.T), g)
            if core is not None:
                kappa[4] = Sum((core.through(scaled), kappa[4]))
        pc = PowerCumulants(kappa, expansion, idea.budget)
        covariance, mean = pc.complete((1, 1)), pc.mean
        lost, k4 = 0.0, None
        if place != last:
            k4 = fourth(pc, idea, covariance)
            older, birth, new, lost = third(pc, idea, covariance, kappa.get(3))  # type: ignore
            state = older, birth, new, k4, pc.coefficient(1)
        if note is not None:
            note({"mean": mean, "covariance": covariance, "lost": lost, "fourth": k4})
    return mean
