from collections.abc import Sequence
from itertools import permutations

import pytest
import torch
from tests.cumulants.brute_force import (
    compositions,
    pushed,
    random,
    random_symmetric,
    sliced,
    symmetrised,
)
from torch import Tensor

from outsample.cumulants.hubs import Birth3, Birth4, Hubs, Triple
from outsample.cumulants.symmetric import Dense, Powers, SymmetricTensor, Traced

N, OUT = 4, 3
WEIGHTS = random(N, seed=99)
#: Which factors meet in a term; 0 is that of the hubs.
TERMS: dict[str, tuple[Triple, ...]] = {
    "three factors": ((0, 1, 2, 1.0),),
    "hubs twice": ((0, 0, 1, 0.5),),
    "an edge twice": ((0, 1, 1, WEIGHTS),),
    "order 3 basic": ((0, 1, 1, WEIGHTS), (0, 0, 2, 0.5)),
    "order 3 augmented": ((0, 1, 2, 1.0), (0, 3, 4, WEIGHTS), (0, 0, 5, 0.5)),
    "one factor thrice": ((1, 1, 1, 0.25), (0, 1, 1, 2.0)),
}


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)


def birth3(terms: tuple[Triple, ...], seed: int = 1) -> tuple[Birth3, Tensor]:
    """New third cumulants, and the same entry by entry."""
    count = max(place for *places, _ in terms for place in places)
    factors = [torch.eye(N, dtype=torch.float64)]
    factors += [random(N, N, seed=100 * seed + k) for k in range(count)]
    plain = torch.zeros((N,) * 3, dtype=torch.float64)
    for *places, weight in terms:
        w = weight if isinstance(weight, Tensor) else torch.full((N,), weight).double()
        for order in permutations(places):
            legs = [factors[place] for place in order]
            for r in range(N):
                plain += w[r] * outer(*(leg[:, r] for leg in legs))
    return Birth3(torch.cat(factors[1:], 1), terms, N), plain


def outer(*tensors: Tensor) -> Tensor:
    out = torch.ones((), dtype=torch.float64)
    for tensor in tensors:
        out = torch.tensordot(out, tensor, 0)
    return out


def birth4(families: int, seed: int = 1) -> tuple[Birth4, Tensor]:
    """New fourth cumulants, and the same entry by entry."""
    hub = torch.eye(N, dtype=torch.float64)
    heads = [
        torch.stack([random_symmetric(2, N, seed=seed * 1000 + 10 * f + r) for r in range(N)], 2)
        for f in range(families + 1)
    ]
    edges = [random(N, N, seed=seed * 100 + f) for f in range(families)]
    plain = torch.zeros((N,) * 4, dtype=torch.float64)
    for r in range(N):
        # the sum over the six, or twelve, distinct orders of the legs
        plain += 6 * symmetrised(outer(heads[0][:, :, r], hub[:, r], hub[:, r]))
        for head, edge in zip(heads[1:], edges, strict=True):
            plain += 12 * symmetrised(outer(head[:, :, r], hub[:, r], edge[:, r]))
    nothing = torch.zeros((N, 0), dtype=torch.float64)
    return Birth4(torch.cat(heads, 2), torch.cat([nothing, *edges], 1)), plain


@pytest.mark.parametrize("terms", TERMS.values(), ids=TERMS.keys())
class TestBirth3:
    def test_all_entries(self, terms: tuple[Triple, ...]) -> None:
        birth, plain = birth3(terms)
        weight, again = random(OUT, N, seed=7), random(5, OUT, seed=8)
        once = birth.through(weight)
        close(once.dense(), pushed(plain, weight))
        close(once.through(again).dense(), pushed(pushed(plain, weight), again))

    def test_repeated_entries(self, terms: tuple[Triple, ...]) -> None:
        birth, plain = birth3(terms)
        weight = random(OUT, N, seed=7)
        expected = sliced(pushed(plain, weight), (2, 1))
        close(birth.through(weight).slice(), expected)
        close(birth.through(weight).against(None), expected)

    def test_against_a_matrix_and_a_vector(self, terms: tuple[Triple, ...]) -> None:
        birth, plain = birth3(terms)
        weight = random(OUT, N, seed=7)
        found, expected = birth.through(weight), pushed(plain, weight)
        matrix, vector = random(OUT, OUT, seed=9), random(OUT, seed=10)
        close(found.against(matrix), torch.einsum("ijk,ik->ij", expected, matrix))
        close(found.against(vector), torch.einsum("ijk,k->ij", expected, vector))

    def test_a_vector_is_a_matrix_of_equal_rows(self, terms: tuple[Triple, ...]) -> None:
        found = birth3(terms)[0].through(random(OUT, N, seed=7))
        vector = random(OUT, seed=10)
        close(found.against(vector), found.against(vector.expand(OUT, OUT)))
        # and against the unit vector k it is that slab
        slabs = [found.against(one) for one in torch.eye(OUT, dtype=torch.float64)]
        close(torch.stack(slabs, 2), found.dense())


@pytest.mark.parametrize("families", [0, 1, 2, 3])
class TestBirth4:
    def test_all_entries(self, families: int) -> None:
        birth, plain = birth4(families)
        weight, again = random(OUT, N, seed=7), random(5, OUT, seed=8)
        once = birth.through(weight)
        close(once.dense(), pushed(plain, weight))
        close(once.through(again).dense(), pushed(pushed(plain, weight), again))

    def test_repeated_entries(self, families: int) -> None:
        birth, plain = birth4(families)
        weight = random(OUT, N, seed=7)
        close(birth.through(weight).slice(), sliced(pushed(plain, weight), (2, 1, 1)))

    def test_entries_of_two_neurons(self, families: int) -> None:
        birth, plain = birth4(families)
        weight = random(OUT, N, seed=7)
        three, two = birth.through(weight).pairs()
        close(three, sliced(pushed(plain, weight), (3, 1)))
        close(two, sliced(pushed(plain, weight), (2, 2)))

    def test_contracted_with_a_vector(self, families: int) -> None:
        birth, plain = birth4(families)
        weight, vector = random(OUT, N, seed=7), random(OUT, seed=11)
        found = birth.through(weight).contracted(vector)
        close(found, pushed(plain, weight) @ vector)


def hubs(order: int, seed: int) -> tuple[Hubs, Tensor]:
    """A cumulant with a past: an older birth, parts of other kinds, a slope still to apply."""
    slope, before = random(N, seed=seed), random(N, N, seed=seed + 1)
    others: Sequence[SymmetricTensor]
    new_others: Sequence[SymmetricTensor]
    if order == 3:
        old, old_plain = birth3(TERMS["order 3 augmented"], seed)
        new, new_plain = birth3(TERMS["order 3 basic"], seed + 1)
        others = [
            Powers(3, random(5, seed=seed), random(N, 5, seed=seed + 2)),
            Dense(random_symmetric(3, N, seed)),
        ]
        vector = Dense(random(N, seed=seed + 3))
        new_others = [Traced(vector, random_symmetric(2, N, seed=seed + 4))]
    else:
        old, old_plain = birth4(2, seed)
        new, new_plain = birth4(1, seed + 1)
        others = [Dense(random_symmetric(4, N, seed))]
        matrix = Dense(random_symmetric(2, N, seed=seed + 3))
        new_others = [Traced(matrix, random_symmetric(2, N, seed=seed + 4))]
    past = pushed(old_plain, before) + sum(other.dense() for other in others)
    plain = pushed(past, torch.diag(slope)) + new_plain + sum(o.dense() for o in new_others)
    return Hubs((old.through(before), new), others, slope, new_others), plain


@pytest.mark.parametrize("order", [3, 4])
class TestHubs:
    def test_all_entries(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        weight, again = random(OUT, N, seed=7), random(5, OUT, seed=8)
        once = found.through(weight)
        assert (found.order, once.order) == (order, order)
        close(once.dense(), pushed(plain, weight))
        close(once.through(again).dense(), pushed(pushed(plain, weight), again))

    def test_repeated_entries_in_every_order(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        weight = random(OUT, N, seed=7)
        once, expected = found.through(weight), pushed(plain, weight)
        close(once.repeated, sliced(expected, (2, *[1] * (order - 2))))
        for multiplicities in compositions(order):
            if max(multiplicities) > 1:
                close(once.slice(multiplicities), sliced(expected, multiplicities))

    def test_a_slice_does_not_depend_on_what_was_asked_before(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        weight = random(OUT, N, seed=7)
        expected = pushed(plain, weight)
        for multiplicities in compositions(order):
            if max(multiplicities) > 1:
                alone = found.through(weight).slice(multiplicities)
                close(alone, sliced(expected, multiplicities))

    def test_births_are_pruned_by_their_share(self, order: int) -> None:
        once = hubs(order, seed=3)[0].through(random(OUT, N, seed=7))
        norms = [float(torch.linalg.vector_norm(part)) for part in once.parts]
        whole = float(torch.linalg.vector_norm(once.repeated))
        shares = [norm / whole for norm in norms]
        assert once.pruned(0.0) == (once.births, 0.0)
        assert once.pruned(min(shares) * 0.999) == (once.births, 0.0)
        kept, dropped = once.pruned((min(shares) + max(shares)) / 2)
        assert kept == (once.births[shares.index(max(shares))],)
        assert dropped == pytest.approx(min(shares), rel=1e-12)

    def test_births_and_others_add_up(self, order: int) -> None:
        once = hubs(order, seed=3)[0].through(random(OUT, N, seed=7))
        assert len(once.parts) == len(once.births) == 2
        shape = (2, *[1] * (order - 2))
        total = sum(once.parts) + sum(other.slice(shape) for other in once.others)
        assert isinstance(total, Tensor)
        close(total, once.repeated)

    def test_scaling_the_neurons(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        factors = random(N, seed=12)
        close(found.scaled(factors).dense(), pushed(plain, torch.diag(factors)))

    def test_contracted_with_a_vector(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        weight, vector = random(OUT, N, seed=7), random(OUT, seed=11)
        if order == 4:
            close(found.through(weight).contracted(vector), pushed(plain, weight) @ vector)
        else:
            close(found.through(weight).against(vector), pushed(plain, weight) @ vector)

    def test_operations_leave_their_operand_alone(self, order: int) -> None:
        found, plain = hubs(order, seed=3)
        once = found.through(random(OUT, N, seed=7))
        before = once.dense()
        _ = once.repeated, once.parts
        once.through(random(2, OUT, seed=1))
        once.slice((order,))
        close(once.dense(), before)
        close(found.scaled(torch.ones(N, dtype=torch.float64)).dense(), plain)


def test_third_cumulants_against_a_matrix() -> None:
    found, plain = hubs(3, seed=3)
    weight, matrix = random(OUT, N, seed=7), random(OUT, OUT, seed=9)
    expected = torch.einsum("ijk,ik->ij", pushed(plain, weight), matrix)
    close(found.through(weight).against(matrix), expected)


def test_without_a_slope_the_past_goes_through_the_map_alone() -> None:
    birth, plain = birth3(TERMS["order 3 basic"])
    weight = random(OUT, N, seed=7)
    close(Hubs((birth,)).through(weight).dense(), pushed(plain, weight))
