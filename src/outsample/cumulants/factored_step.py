"""The highest cumulant of a layer of activations in factored form, and its partial trace.

Cost O(n^K) a layer and birth, where the dense tensor costs O(n^(K+1)).  In the augmented variant
the diagrams that do not factor (cycles of covariances, third cumulants with an edge inside) are
dropped from the cumulant, and kept where one neuron is summed over.
"""

import torch
from torch import Tensor

from outsample.cumulants.hubs import Birth3, Birth4, Hubs, Triple
from outsample.cumulants.power_cumulants import PowerCumulants
from outsample.cumulants.program import without_joint_edges, without_pendant
from outsample.cumulants.subspace import compressed
from outsample.cumulants.symmetric import AlongCovariance, Dense, SymmetricTensor, Traced


def third(
    powers: PowerCumulants,
    tolerance: float,
    along: bool = False,
    precision: torch.dtype | None = None,
) -> Hubs:
    """κ_3 of φ(Z) as births.

    Args:
        powers: of this layer.
        tolerance: see :func:`~outsample.cumulants.subspace.compressed`.
        along: whether κ_4 = s Sym(C ⊗ C) with C the covariance.
        precision: that of the births, if not full.
    """
    slope, curvature = powers.coefficient(1), powers.coefficient(2)
    edge = hollow(powers.slice((1, 1)) * slope[:, None])
    repeated = powers.complete((2, 1)).clone()
    older, kappa4 = powers.kappa.get(3), powers.kappa.get(4)
    others: list[SymmetricTensor] = []
    if powers.budget == 2:
        # the rest of the diagram is an edge as well
        weight = curvature * 0.5
        factors: list[Tensor] = [edge]
        terms: list[Triple] = [(0, 1, 1, weight), (0, 0, 2, 0.5)]
        repeated.addcmul_(edge * edge, weight, value=-2)
    else:
        head = hollow(powers.evaluate(without_pendant(3, powers.budget, powers.orders), (1, 1)))
        factors, terms = [edge, head], [(0, 1, 2, 1.0), (0, 0, 3, 0.5)]
        if along:
            scale = _scale(kappa4)
            if scale is not None:
                # κ_iijk with i a hub: both others are joined to it by an edge
                head.addcmul_(edge * scale, curvature, value=1 / 6)
            vector = _along_covariance(older, scale, slope, curvature)
            if vector is not None:
                repeated -= Traced(Dense(vector), powers.complete((1, 1))).slice((2, 1))
                others.append(AlongCovariance(Dense(vector)))
        elif isinstance(kappa4, Traced):
            # κ_iijk = Sym(A ⊗ G) with i a hub, or the vector of its diagonal times a matrix
            core, metric = kappa4.core.slice((1, 1)), kappa4.metric
            a, g = hollow(core * slope[:, None]), hollow(metric * slope[:, None])
            weight = curvature / 6
            factors, terms = [edge, head, a, g], [(0, 1, 2, 1.0), (0, 3, 4, weight), (0, 0, 5, 0.5)]
            repeated.addcmul_(a * g, weight, value=-2)
            for x, y in ((core, metric), (metric, core)):
                part = Dense(x.diagonal() * curvature / 4)
                others.append(Traced(part, y * slope * slope[:, None]))
                repeated -= others[-1].slice((2, 1))
        repeated.addcmul_(edge, head, value=-2)
    if older is not None:
        passed = powers.slice((2, 1))
        for part in _traced(older) if along else ():
            passed = passed - part.slice((2, 1))  # it is in ``vector`` now
        repeated -= passed * (slope * slope)[:, None] * slope
    repeated.diagonal().div_(3)
    birth = _birth([*factors, repeated.T], terms, precision)
    if not isinstance(older, Hubs):
        return Hubs((birth,), () if older is None else (older,), slope, others)
    kept, moved = compressed(older, slope, powers.complete((1, 1)), tolerance)
    past = [part for part in kept.others if not (along and isinstance(part, Traced))]
    new = [*others, moved] if moved else others
    return Hubs((*kept.births, birth), past, slope, new, kept.dropped)


def _birth(factors: list[Tensor], terms: list[Triple], precision: torch.dtype | None) -> Birth3:
    columns = torch.cat(factors, 1)
    precision = precision or columns.dtype
    rounded = tuple(
        (a, b, c, w.to(precision) if isinstance(w, Tensor) else w) for a, b, c, w in terms
    )
    return Birth3(columns.to(precision), rounded, columns.shape[0])


def _along_covariance(
    older: SymmetricTensor | None, scale: Tensor | None, slope: Tensor, curvature: Tensor
) -> Tensor | None:
    """Vector v of the part Sym(v ⊗ C) of κ_3: from κ_iijk with j and k joined, and from before.

    That e_1(i) C_ij e_1(j) is the covariance of φ(Z) holds but for coinciding neurons.
    """
    vector: Tensor | None = None
    for part in _traced(older):
        vector = part.core.dense() * slope
    if scale is None:
        return vector
    new = curvature * (scale / 2)
    return new if vector is None else vector + new


def _scale(kappa4: SymmetricTensor | None) -> Tensor | None:
    """The number s of κ_4 = s Sym(C ⊗ C)."""
    if isinstance(kappa4, Traced) and isinstance(kappa4.core, Traced):
        return kappa4.core.core.dense()
    return None


def _traced(tensor: SymmetricTensor | None) -> list[Traced]:
    others = tensor.others if isinstance(tensor, Hubs) else ()
    return [part for part in others if isinstance(part, Traced)]


def partial_trace3(powers: PowerCumulants) -> Tensor:
    """Σ_k κ_kkij of φ(Z), every diagram included, shape (n, n)."""
    e1, e2 = powers.coefficient(1), powers.coefficient(2)
    d1, d2 = powers.coefficient(1, 2), powers.coefficient(2, 2)
    program = without_pendant(3, powers.budget, powers.orders)
    c = hollow(powers.slice((1, 1)).clone())
    edge, squared_edge = c * e1[:, None], c * d1[:, None]
    head, squared_head, squared_hub = (
        hollow(powers.evaluate(program, p)) for p in ((1, 1), (2, 1), (1, 2))
    )
    # one side only, [i, j]: what its transpose completes
    side = edge @ squared_hub.T
    # hub j, and k one of its other neurons: k = i is left out
    side.addcmul_(head, squared_edge.sum(0) - squared_edge)
    side.addcmul_(edge, squared_head.sum(0) - squared_head)
    weighted = c * d2
    both = (weighted @ c).mul_(c)
    if 3 in powers.kappa:
        k3, s = powers.kappa[3], powers.slice((2, 1))
        sd = s * d1[:, None]
        inner = k3.against(d1) - sd - sd.T
        side += (k3.against(weighted) - s.T * weighted) * e2[:, None] * e1
        both += inner * c
        both = both * e2 * e2[:, None] + inner * e1 * e1[:, None]
    else:
        both = both * e2 * e2[:, None]
    if 4 in powers.kappa:
        u, v = _traced_terms(powers, d1, d2)
        both += u * (0.5 * e1) * e1[:, None]
        side += v * (0.5 * e2)[:, None] * e1
    covariance = hollow(powers.complete((1, 1)).clone())
    both.addmm_(covariance, covariance, alpha=-2)
    side += powers.complete((3, 1))
    out = both + side + side.T
    out.diagonal().copy_(powers.complete((2, 2)).sum(0))
    return out


def _traced_terms(powers: PowerCumulants, d1: Tensor, d2: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_k κ_kkij d2_k and Σ_k κ_kiij d1_k over k other than i and j, for κ = Sym(A ⊗ G)."""
    kappa4 = powers.kappa[4]
    assert isinstance(kappa4, Traced)
    a, g = kappa4.core.slice((1, 1)), kappa4.metric
    a0, g0 = a.diagonal(), g.diagonal()
    ag = (a * d2) @ g
    u = g * torch.dot(a0, d2) + a * torch.dot(g0, d2) + 2 * (ag + ag.T)
    ad, gd = torch.mv(a, d1), torch.mv(g, d1)
    v = torch.outer(a0, gd) + torch.outer(g0, ad) + 2 * (g * ad[:, None] + a * gd[:, None])
    three = powers.slice((3, 1))
    at2, at1 = three * d2[:, None], three * d1[:, None]
    return u / 6 - at2 - at2.T, v / 6 - at1 - powers.slice((2, 2)) * d1


def fourth(powers: PowerCumulants, tolerance: float, precision: torch.dtype | None = None) -> Hubs:
    """κ_4 of φ(Z) as births, of that precision if not full."""
    slope = powers.coefficient(1)
    families = _families(powers, slope)
    repeated = powers.complete((2, 1, 1)).clone()
    for head, edge in families:
        # entries κ_iijk in which j is the hub and i a pendant, then those in which k is the hub
        half = (head * edge[:, None]).permute(0, 2, 1)
        repeated -= 2 * (half + half.mT)
    older = powers.kappa.get(4)
    births, past, dropped = _past(older, tolerance)
    if older is not None:
        square = torch.outer(slope, slope)
        repeated -= powers.slice((2, 1, 1)) * (slope * slope)[:, None, None] * square
    # how many of the orders of the legs give the same entry
    repeated.diagonal(0, 1, 2).div_(2)
    for axis in (1, 2):
        repeated.diagonal(0, 0, axis).div_(3)
    repeated.diagonal(0, 0, 1).diagonal().mul_(3)
    heads = [repeated.permute(1, 2, 0), *(head for head, _ in families)]
    precision = precision or slope.dtype
    edges = torch.cat([edge for _, edge in families], 1).to(precision)
    birth = Birth4(torch.cat([head.to(precision) for head in heads], 2), edges)
    return Hubs((*births, birth), past, slope, (), dropped)


def _families(powers: PowerCumulants, slope: Tensor) -> list[tuple[Tensor, Tensor]]:
    """H_r and x_r of the diagrams on four neurons that factor through one."""
    edge = hollow(powers.slice((1, 1)) * slope[:, None])
    head = hollow(powers.evaluate(without_pendant(4, powers.budget, powers.orders), (1, 1, 1)))
    families = [(head, edge)]
    if powers.budget == 3:
        return families
    pair = slope[:, None, None] * slope[:, None]
    if 3 in powers.kappa:
        # a third cumulant, and two neurons joined by more than an edge
        more, less = (powers.evaluate(without_pendant(3, b, powers.orders), (1, 1)) for b in (3, 2))
        families.append((hollow(powers.slice((1, 1, 1)) * pair), hollow(more - less)))
    if 5 in powers.kappa:
        # κ_iijkl = Sym(A ⊗ G) / 2 with curvature at i; G takes i and l, k and l, or i twice
        kappa5 = powers.kappa[5]
        assert isinstance(kappa5, Traced)
        core, metric, curvature = kappa5.core.slice((1, 1, 1)), kappa5.metric, powers.coefficient(2)
        at_hub = core * pair * (curvature / 10)
        away = (kappa5.core.slice((2, 1)) * curvature[:, None] * slope) / 40
        through = hollow(at_hub + (away + away.T)[:, :, None] * slope)
        families.append((through, hollow(metric * slope[:, None])))
        twice = (metric.diagonal() * curvature / 60)[:, None].expand_as(metric)
        families.append((hollow(core * pair * slope), hollow(twice.clone())))
    return families


def partial_trace4(powers: PowerCumulants) -> Tensor:
    """Σ_l κ_llij of φ(Z), shape (n, n, n), but for fourth cumulants with an edge inside."""
    slope = powers.coefficient(1)
    program = without_joint_edges(4, powers.budget, powers.orders)
    out = powers.summed(program, (2, 1, 1, 1))
    if 4 in powers.kappa:
        weights = powers.coefficient(1, 2)
        inner = powers.kappa[4].contracted(weights)
        # l is none of the others
        three = powers.slice((2, 1, 1)) * weights[:, None, None]
        inner = inner - three - three.permute(1, 0, 2) - three.permute(1, 2, 0)
        # an edge may join two of the neurons that are left
        bent = powers.slice((1, 1)) * powers.coefficient(2) * powers.coefficient(2)[:, None]
        ways = slope[:, None, None] * torch.outer(slope, slope)
        ways = ways + bent[:, :, None] * slope + bent[:, None] * slope[:, None]
        out += inner * (ways + bent * slope[:, None, None])
    covariance = hollow(powers.complete((1, 1)).clone())
    third_cumulant = hollow(powers.complete((1, 1, 1)).clone())
    pairs = third_cumulant @ covariance  # Σ_l κ_ijl κ_lk
    cubes = powers.complete((3, 1, 1)) - 2 * pairs.permute(2, 0, 1)
    out += cubes + cubes.permute(1, 0, 2) + cubes.permute(1, 2, 0)
    repeated = powers.complete((2, 2, 1)).sum(1)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        out.diagonal(0, a, b).copy_(repeated.T)
    return out


def _past(
    older: SymmetricTensor | None, tolerance: float
) -> tuple[tuple[Birth3 | Birth4, ...], tuple[SymmetricTensor, ...], float]:
    """What stays of the cumulant before: births, other parts, the largest share dropped."""
    if older is None:
        return (), (), 0.0
    if not isinstance(older, Hubs):
        return (), (older,), 0.0
    births, dropped = older.pruned(tolerance)
    return births, older.others, dropped


def hollow(x: Tensor) -> Tensor:
    """Set the entries in which two neurons coincide to zero, in place, and return the tensor."""
    for a in range(x.dim()):
        for b in range(a + 1, x.dim()):
            x.diagonal(0, a, b).zero_()
    return x
