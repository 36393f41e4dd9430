"""Sums over diagrams as short programs: common factors taken out, once for each order.

A diagram is a product of cumulants κ_v and of one coefficient e_k for each neuron.  A coefficient
is attached to a cumulant on as few neurons as possible, so that most products are formed between
small tensors; then the factor that most diagrams share is taken out, again and again, as Horner
would.  ``str(program)`` is the formula that it computes.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

from outsample.cumulants.diagrams import Block, Diagram, block_cost, diagrams

_NAMES = "ijklmn"


@dataclass(frozen=True, order=True)
class Factor:
    """A product of cumulants on the same neurons, and of coefficients of some of them."""

    #: Which neurons, ascending.
    axes: tuple[int, ...]
    blocks: tuple[Block, ...]
    #: (neuron, degree), ascending.
    coefficients: tuple[tuple[int, int], ...]

    def __hash__(self) -> int:
        """Taken once: every evaluation looks factors up."""
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.axes, self.blocks, self.coefficients))

    @cached_property
    def alone(self) -> "Factor":
        """The same on a neuron without others, for a factor of one neuron."""
        (a,) = self.axes
        blocks = tuple((block[a],) for block in self.blocks)
        return Factor((0,), blocks, tuple((0, degree) for _, degree in self.coefficients))

    def __str__(self) -> str:
        """E.g. ``κ_ij κ_ij e2_i``."""
        kappas = ["κ_" + "".join(_NAMES[a] * v for a, v in enumerate(b)) for b in self.blocks]
        return " ".join(kappas + [f"e{k}_{_NAMES[a]}" for a, k in self.coefficients])


@dataclass(frozen=True, eq=False)
class Product:
    """weight · factor, times a sum if there is one."""

    factor: Factor
    weight: float
    rest: "Program | None"

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Which neurons it depends on."""
        return _union(self.factor.axes, self.rest.axes if self.rest else ())

    def __str__(self) -> str:
        """As in a formula."""
        weight = "" if self.weight == 1 else f"{self.weight:.6g} "
        if self.rest is None:
            return f"{weight}{self.factor}"
        rest = f"({self.rest})" if len(self.rest.products) > 1 else str(self.rest)
        return f"{weight}{self.factor} {rest}"


@dataclass(frozen=True, eq=False)
class Program:
    """A sum of products, and a constant."""

    products: tuple[Product, ...]
    constant: float = 0.0

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Which neurons it depends on."""
        return _union(*(product.axes for product in self.products))

    @cached_property
    def fits(self) -> tuple[bool, ...]:
        """Of every product, whether it depends on no neuron that those before it do not."""
        before = [_union(*(p.axes for p in self.products[:i])) for i in range(len(self.products))]
        return tuple(set(p.axes) <= set(b) for p, b in zip(self.products, before, strict=True))

    @cached_property
    def weighted(self) -> tuple[int, ...]:
        """Neurons whose coefficients it uses, and so the powers of their activations."""
        return tuple(sorted({a for a, _ in self.coefficients}))

    @cached_property
    def coefficients(self) -> tuple[tuple[int, int], ...]:
        """Every (neuron, degree) that it uses; none if it is made of cumulants alone."""
        return tuple(
            sorted(
                {c for p in self.products for c in p.factor.coefficients}.union(
                    *(p.rest.coefficients for p in self.products if p.rest)
                )
            )
        )

    def __str__(self) -> str:
        """The formula."""
        terms = [str(product) for product in self.products]
        return " + ".join([f"{self.constant:.6g}"] * bool(self.constant) + terms) or "0"


@lru_cache(maxsize=256)
def all_diagrams(neurons: int, budget: int, orders: frozenset[int]) -> Program:
    """Sum of all diagrams on ``neurons`` neurons, from cumulants of the given orders."""
    return _factorised(
        [
            _term(float(d.weight), d.blocks, d.degrees)
            for d in diagrams(neurons, budget)
            if _available(d, orders)
        ]
    )


@lru_cache(maxsize=256)
def without_joint_edges(neurons: int, budget: int, orders: frozenset[int]) -> Program:
    """The diagrams without the cumulant in which every one of the neurons appears once."""
    return _factorised(
        [
            _term(float(d.weight), d.blocks, d.degrees)
            for d in diagrams(neurons, budget)
            if _available(d, orders) and (1,) * neurons not in d.blocks
        ]
    )


@lru_cache(maxsize=256)
def without_pendant(neurons: int, budget: int, orders: frozenset[int]) -> Program:
    """The diagrams that factor through one neuron, their pendant edge taken off.

    A neuron is pendant if its only block is an edge κ_rl to one other, the hub r.  The neurons of
    the program are the others, the hub last: this, times the edge, summed over hubs and pendants
    is the sum of all diagrams on ``neurons`` neurons that have a pendant.  A diagram with several
    is shared between them.
    """
    hub, leaf = neurons - 2, neurons - 1
    edge = tuple(int(a in (hub, leaf)) for a in range(neurons))
    terms: list[tuple[float, tuple[Factor, ...]]] = []
    for diagram in diagrams(neurons, budget):
        if (hub, leaf) in diagram.pendants and _available(diagram, orders):
            blocks = list(diagram.blocks)
            blocks.remove(edge)
            share = float(diagram.weight / len(diagram.pendants))
            rest = tuple(block[:-1] for block in blocks)
            terms.append(_term(share, rest, diagram.degrees[:-1]))
    return _factorised(terms)


def _available(diagram: Diagram, orders: frozenset[int]) -> bool:
    return all(sum(block) in orders for block in diagram.blocks)


def _term(
    weight: float, blocks: tuple[Block, ...], degrees: tuple[int, ...]
) -> tuple[float, tuple[Factor, ...]]:
    """One diagram as factors: cumulants by their neurons, each coefficient with the smallest."""
    by_axes: dict[tuple[int, ...], list[Block]] = {}
    for block in blocks:
        by_axes.setdefault(tuple(a for a, v in enumerate(block) if v), []).append(block)
    m = len(degrees)
    attached: dict[tuple[int, ...], list[tuple[int, int]]] = {axes: [] for axes in by_axes}
    for a, degree in enumerate(degrees):
        # an edge keeps the coefficient of its pendant only: then more diagrams share it
        hosts = [axes for axes in by_axes if a in axes and len(axes) < m]
        host = max(
            hosts, key=lambda axes: (sum(map(block_cost, by_axes[axes])), axes), default=(a,)
        )
        attached.setdefault(host, []).append((a, degree))
    return weight, tuple(
        sorted(
            Factor(axes, tuple(by_axes.get(axes, ())), tuple(coefficients))
            for axes, coefficients in attached.items()
        )
    )


def _factorised(terms: list[tuple[float, tuple[Factor, ...]]]) -> Program:
    """Take out the factor that most terms share, and so on within and without."""
    products: list[Product] = []
    constant = sum(weight for weight, factors in terms if not factors)
    left = [term for term in terms if term[1]]
    while left:
        shared = Counter(f for _, factors in left for f in set(factors))
        pivot = max(shared, key=lambda f: (shared[f], len(f.axes), f))
        within = [(w, _without(factors, pivot)) for w, factors in left if pivot in factors]
        left = [term for term in left if pivot not in term[1]]
        if all(not factors for _, factors in within):
            products.append(Product(pivot, sum(w for w, _ in within), None))
        elif len(within) == 1:  # the weight goes with the multiplication
            ((weight, factors),) = within
            products.append(Product(pivot, weight, _factorised([(1.0, factors)])))
        else:
            products.append(Product(pivot, 1.0, _factorised(within)))
    return Program(tuple(products), constant)


def _without(factors: tuple[Factor, ...], pivot: Factor) -> tuple[Factor, ...]:
    place = factors.index(pivot)
    return factors[:place] + factors[place + 1 :]


def _union(*axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({a for some in axes for a in some}))
