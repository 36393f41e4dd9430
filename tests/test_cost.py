"""The meter against hand counts, against PyTorch's own counter, and against silence."""

import copy
import pickle
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import outsample.cost
from outsample.cost import Cost, FlopMeter, count_flops, price_list, report_flops
from outsample.errors import InputError, OutsampleWarning

F = nn.functional
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")


@torch.library.custom_op("outsample_test::triple", mutates_args=())
def triple(x: Tensor) -> Tensor:
    return torch.from_numpy(3 * x.numpy())


@torch.library.custom_op("outsample_test::reporting_triple", mutates_args=())
def reporting_triple(x: Tensor) -> Tensor:
    report_flops(x.numel(), "reporting_triple")
    return torch.from_numpy(3 * x.numpy())


def metered(function: Callable[[], object]) -> FlopMeter:
    with FlopMeter() as meter:
        function()
    return meter


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def positive_definite(n: int, *batch: int) -> Tensor:
    root = normal(*batch, n, n)
    return root @ root.mT + n * torch.eye(n, dtype=root.dtype)


# --- Hand counts ------------------------------------------------------------------------------


def test_perceptron_forward_and_backward() -> None:
    batch, n, m, k = 7, 5, 11, 3
    net = nn.Sequential(nn.Linear(n, m), nn.ReLU(), nn.Linear(m, k))
    x = torch.ones(batch, n)
    forward = 2 * batch * n * m + batch * m + 2 * batch * m * k
    with torch.no_grad():
        assert count_flops(lambda: net(x)) == forward
    with torch.inference_mode():
        assert count_flops(lambda: net(x)) == forward
    assert count_flops(lambda: net(x)) == forward
    loss = net(x).sum()
    weights = 2 * batch * n * m + 2 * batch * m * k
    biases = batch * m + batch * k
    hidden = 2 * batch * m * k + batch * m  # the gradient through the second layer and the ReLU
    assert count_flops(loss.backward) == weights + biases + hidden


def test_backward_of_a_custom_function() -> None:
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, gradient):
            (x,) = ctx.saved_tensors
            return 2 * x * gradient

    x = normal(4, 6).requires_grad_()
    y = Square.apply(x)
    assert count_flops(lambda: y.backward(torch.ones_like(y))) == 2 * 24


X, Y, Z, V = normal(4, 6), normal(4, 6) + 9, normal(4, 6), normal(6)
S, L = positive_definite(4), torch.linalg.cholesky(positive_definite(4))
BATCH = positive_definite(3, 5)
SORTED, INDEX = torch.arange(6, dtype=torch.float64), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        (lambda: X + Y, 24),
        (lambda: torch.add(X, Y, alpha=2), 48),
        (lambda: X + V, 24),
        (lambda: torch.outer(V, V), 36),
        (lambda: torch.where(X > 0, X, Y), 48),
        (lambda: X.clamp(0, 1).abs().neg(), 72),
        (lambda: torch.addcmul(X, Y, Z), 72),
        (lambda: torch.addcdiv(X, Y, Z), 72),
        (lambda: torch.lerp(X, Y, 0.5), 72),
        (lambda: X**2, 24),
        (lambda: Y.sqrt(), 96),
        (lambda: X / Y, 24),
        (lambda: X.exp(), 240),
        (lambda: X.erf(), 480),
        (lambda: torch.special.ndtr(X), 24 * (20 + 3)),
        (lambda: X.sum(), 24),
        (lambda: X.mean(0), 24),
        (lambda: X.amax(1), 24),
        (lambda: X.var(0), 96),
        (lambda: torch.linalg.vector_norm(X), 48),
        (lambda: X.cumsum(0), 24),
        (lambda: X.softmax(1), 24 * 14),
        (lambda: torch.sort(X, dim=1), 24 * 3),
        (lambda: torch.sort(X, dim=0), 24 * 2),
        (lambda: torch.sort(X[:2], dim=0), 12),
        (lambda: torch.topk(X, 2, dim=0), 24 * 2),
        (lambda: X[:, [0, 1]], 0),
        (lambda: torch.cat([X, Y]).T.reshape(-1).to(torch.float32).clone(), 0),
        (lambda: torch.randn(10, generator=torch.Generator()), 200),
        (lambda: torch.zeros(4, 6).index_add_(0, torch.tensor([0, 0]), torch.ones(2, 6)), 12),
        (lambda: torch.complex(X, Y) @ torch.complex(Z, X).T, 4 * 2 * 4 * 6 * 4),
        (lambda: torch.fft.fft(torch.complex(X[:, :4], Y[:, :4])), 5 * 16 * 2),
        (lambda: torch.fft.rfft(X[:, :4]), 5 * 16 * 2 // 2),
        (lambda: torch.fft.rfft(X[:, :1]), 0),
        (lambda: torch.cdist(X, Y), 3 * 6 * 16),
        (lambda: torch.trace(X), 4),
        (lambda: X @ V, 48),
        (lambda: torch.dot(V, V), 12),
        (lambda: torch.addmv(X[:, 0], X, V), 48),
        (lambda: torch.einsum("ij,kj->ik", X, Y), 2 * 4 * 6 * 4),
        (lambda: torch.eye(6).to_sparse() @ torch.ones(6, 5), 2 * 6 * 5),
        (lambda: torch.linalg.cholesky(S), 22),  # 64/3, rounded up
        (lambda: torch.linalg.cholesky(BATCH), 5 * 9),
        (lambda: torch.linalg.solve_triangular(L, X, upper=False), 16 * 6),
        (lambda: torch.cholesky_solve(X, L), 2 * 16 * 6),
        (lambda: torch.linalg.solve(S, X), 235),  # 128/3 + 2·16·6, rounded up
        (lambda: torch.linalg.inv(S), 128),
        (lambda: torch.linalg.slogdet(BATCH), 5 * 18),
        (lambda: torch.linalg.eigh(S), 9 * 64),
        (lambda: torch.linalg.eig(S), 25 * 64),
        (lambda: torch.linalg.svd(S), 22 * 64),
        (lambda: torch.linalg.qr(S), 171),  # 4/3 n³ for R and as much for Q, rounded up
        (lambda: torch.linalg.qr(X.T), 299),  # 2·16·(6 − 4/3) twice, rounded up
        (lambda: torch.linalg.qr(X.T, mode="r"), 150),
        (lambda: torch.linalg.qr(X.T, mode="complete"), 427),  # 149⅓ + 4·(36·4 − 6·16 + 64/3)
        (lambda: torch.linalg.svd(X[:2]), 6 * 6 * 4 + 20 * 8),
        (lambda: torch.linalg.svd(X[:, :3]), 14 * 4 * 9 + 8 * 27),
        (lambda: torch.linalg.pinv(X[:2]), 6 * 6 * 4 + 20 * 8 + 2 * 2 * 6 * 2),
        (lambda: torch.linalg.pinv(S, hermitian=True), 9 * 64 + 2 * 64),
        (lambda: torch.linalg.lstsq(X.T, V[:, None]), 246),  # 149⅓ + 4·6·4, rounded up
        (lambda: torch.linalg.lu(X), 75),  # 16·(6 − 4/3), rounded up
        (lambda: torch.linalg.det(S), 43),
        (lambda: torch.cholesky_inverse(L), 43),
        (lambda: torch.linalg.lu_solve(S, torch.arange(1, 5).int(), X), 2 * 16 * 6),
        (lambda: torch.special.hermite_polynomial_he(X, 3), 9 * 24),
        (lambda: F.batch_norm(X, V, V + 9), 2 * 24 + 6),
        (lambda: F.batch_norm(X, V.clone(), V.clone(), training=True), 6 * 24),
        (lambda: F.avg_pool2d(X[None, None], 2), 24),
        (lambda: F.max_pool2d(X[None, None], 3, stride=1), 8 * 9),
        (lambda: X.clone().index_put_((INDEX,), Y[:2], accumulate=True), 12),
        (lambda: X.clone().index_put_((INDEX,), Y[:2]), 0),
        (lambda: torch.searchsorted(SORTED, X), 24 * 3),
        (lambda: torch.bucketize(X, SORTED), 24 * 3),
        (lambda: torch.unique(SORTED), 6 * 3),
        (lambda: F.nll_loss(X, torch.tensor([0, 1, 2, 3])), 24),
    ],
)
def test_hand_count(function: Callable[[], object], flops: int) -> None:
    assert count_flops(function) == flops


def test_backward_of_pooling_by_hand() -> None:
    operand = torch.ones(1, 1, 4, 6, requires_grad=True)
    averages, maxima = F.avg_pool2d(operand, 2), F.max_pool2d(operand, 2)
    assert count_flops(lambda: averages.backward(torch.ones_like(averages))) == 6 * 4
    assert count_flops(lambda: maxima.backward(torch.ones_like(maxima))) == 6 + 24  # grad adds up


@pytest.mark.parametrize(
    ("exponent", "price"),
    [(0, 0), (1, 0), (2, 1), (3, 2), (-1, 1), (-2, 2), (0.5, 4), (-0.5, 4), (4, 24), (1.5, 24)],
)
def test_powers_by_hand(exponent: float, price: int) -> None:
    assert count_flops(lambda: torch.pow(Y, exponent)) == 24 * price
    assert count_flops(lambda: torch.pow(Y, torch.full((4, 6), exponent))) == 24 * 24


def test_whitening_by_hand() -> None:
    count, n = 50, 6
    x = normal(count, n)

    def whiten() -> Tensor:
        centred = x - x.mean(0)
        covariance = centred.T @ centred / (count - 1)
        root = torch.linalg.cholesky(covariance)
        return torch.linalg.solve_triangular(root, centred.T, upper=False)

    mean, centring, product, scale = count * n, count * n, 2 * count * n * n, n * n
    assert count_flops(whiten) == mean + centring + product + scale + n**3 // 3 + count * n * n


@pytest.mark.parametrize("n", range(8))
def test_in_place_and_out_forms_cost_the_same(n: int) -> None:
    x, out = torch.ones(n), torch.empty(n)
    forms = [lambda: x.exp(), lambda: x.clone().exp_(), lambda: torch.exp(x, out=out)]
    assert [metered(f).by_operation for f in forms] == [Counter(exp=10 * n) if n else Counter()] * 3


def test_foreach_forms_cost_the_same() -> None:
    lists = [[torch.ones(3), torch.ones(2, 2)] for _ in range(3)]
    single = metered(lambda: [torch.addcmul(*place) for place in zip(*lists, strict=True)])
    several = metered(lambda: torch.ops.aten._foreach_addcmul(*lists))
    in_place = metered(lambda: torch.ops.aten._foreach_addcmul_(*lists))
    assert single.by_operation == several.by_operation == in_place.by_operation
    assert metered(lambda: torch.ops.aten._foreach_add_(lists[0], lists[1], alpha=2)).flops == 2 * 7


# --- Products ---------------------------------------------------------------------------------

sizes = st.integers(0, 12)


@given(b=sizes, m=sizes, k=sizes, n=sizes)
def test_product_costs_2mnk(b: int, m: int, k: int, n: int) -> None:
    left, right = torch.ones(m, k), torch.ones(k, n)
    assert count_flops(lambda: left @ right) == 2 * m * n * k
    assert count_flops(lambda: torch.addmm(torch.ones(n), left, right)) == 2 * m * n * k
    assert count_flops(lambda: left.expand(b, m, k) @ right.expand(b, k, n)) == 2 * b * m * n * k
    assert count_flops(lambda: torch.func.vmap(lambda row: row @ right)(left)) == 2 * m * n * k


def _backward(module: nn.Module, *shape: int) -> Callable[[], object]:
    module = module.double()
    return lambda: module(normal(*shape).requires_grad_()).square().sum().backward()


@pytest.mark.parametrize(
    "function",
    [
        lambda: X @ Y.T,
        lambda: torch.bmm(normal(3, 4, 5), normal(3, 5, 2)),
        lambda: torch.baddbmm(normal(3, 4, 2), normal(3, 4, 5), normal(3, 5, 2)),
        lambda: torch.addmm(normal(4, 4), X, Y.T),
        _backward(nn.Linear(5, 3), 7, 5),
        _backward(nn.Conv1d(2, 6, 3, padding=1, bias=False), 3, 2, 9),
        _backward(nn.Conv2d(4, 6, 3, stride=2, bias=False), 2, 4, 9, 8),
        _backward(nn.Conv2d(4, 6, 3, dilation=2, bias=False), 2, 4, 9, 8),
        _backward(nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False), 2, 4, 5, 6),
    ],
)
def test_products_agree_with_the_counter_of_pytorch(function: Callable[[], object]) -> None:
    by_operation = metered(function).by_operation
    with FlopCounterMode(display=False) as counter:
        function()
    assert sum(by_operation[name] for name in PRODUCTS) == counter.get_total_flops() > 0


def test_groups_divide_the_cost_of_a_convolution() -> None:
    # PyTorch's counter leaves the groups out of the gradient of the weight.
    convolution = nn.Conv2d(4, 6, 3, groups=2)
    y = convolution(x := torch.ones(2, 4, 9, 8, requires_grad=True))
    forward = 2 * (2 * 6 * 7 * 6) * (2 * 3 * 3)
    assert count_flops(lambda: convolution(x)) == forward
    assert count_flops(lambda: y.backward(torch.ones_like(y))) == 2 * forward + y.numel()
    convolution.requires_grad_(False).weight.requires_grad_()
    y = convolution(x.detach())  # the gradient of the weight is all that is wanted
    weight = convolution.weight
    assert count_flops(lambda: torch.autograd.grad(y.sum(), weight)) == forward + y.numel()


def test_attention_is_its_products_and_its_softmax() -> None:
    b, h, q, k, d = 2, 3, 5, 7, 4
    query, key = normal(b, h, q, d).requires_grad_(), normal(b, h, k, d)
    out = []
    flops = count_flops(lambda: out.append(F.scaled_dot_product_attention(query, key, key)))
    assert flops == b * h * q * k * (2 * 2 * d + 14)
    assert count_flops(out[0].sum().backward) == b * h * q * k * (5 * 2 * d + 18)


# --- Everything that must have a price ----------------------------------------------------------

ACTIVATIONS = [
    *(nn.ReLU(), nn.LeakyReLU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Tanh(), nn.Sigmoid()),
    *(nn.Softplus(), nn.ELU(), nn.Hardtanh(), nn.BatchNorm1d(6), nn.Dropout(), nn.LayerNorm(6)),
    *(nn.Softmax(1), nn.LogSigmoid(), nn.Mish(), nn.Hardswish(), nn.PReLU(), nn.CELU()),
    *(torch.abs, torch.sign, torch.erf, torch.sin, torch.cos),
    lambda x: torch.heaviside(x.detach(), x.new_zeros(())),
    lambda x: x**3 - 2 * x,
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "activation", ACTIVATIONS, ids=lambda a: getattr(a, "__name__", type(a).__name__)
)
def test_networks_are_priced(activation: Callable[[Tensor], Tensor], training: bool) -> None:
    first, last = nn.Linear(4, 6), nn.Linear(6, 2)
    if isinstance(activation, nn.Module):
        activation.float().train(training)
    x = torch.ones(3, 4)
    meter = metered(lambda: last(activation(first(x))).sum().backward())
    assert not meter.unpriced
    with torch.inference_mode():
        assert not metered(lambda: last(activation(first(x)))).unpriced
    products = 2 * 3 * 4 * 6 + 2 * 3 * 6 * 2
    assert meter.flops > products + 3 * 6  # the activation is not free


@pytest.mark.parametrize(
    "function",
    [
        lambda: torch.special.ndtri(torch.rand(5, generator=torch.Generator())),
        lambda: torch.erfinv(torch.quasirandom.SobolEngine(3, scramble=True, seed=0).draw(8)),
        lambda: torch.linalg.svd(X),
        lambda: torch.linalg.svdvals(X),
        lambda: torch.linalg.eigvalsh(S),
        lambda: torch.linalg.pinv(X),
        lambda: torch.linalg.lstsq(X.T, V),
        lambda: torch.special.log_ndtr(X),
        lambda: torch.cov(X.T),
        lambda: torch.isfinite(X).all(),
        lambda: torch.allclose(S, S.T),
        lambda: torch.quantile(X, 0.3),
        lambda: torch.bernoulli(torch.full((3,), 0.5)),
        lambda: torch.logsumexp(X, 0),
        lambda: torch.func.jacrev(torch.tanh)(V),
        lambda: torch.linalg.eigh(S.clone().requires_grad_())[1].sum().backward(),
        lambda: torch.linalg.cholesky(S.clone().requires_grad_()).sum().backward(),
    ],
)
def test_mathematics_is_priced(function: Callable[[], object]) -> None:
    meter = metered(function)
    assert not meter.unpriced
    assert meter.flops > 0


def _training_step(optimizer: type[torch.optim.Optimizer], **settings: object) -> FlopMeter:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    steps = optimizer(net.parameters(), lr=0.1, **settings)

    def step() -> None:
        steps.zero_grad()
        F.cross_entropy(net(torch.ones(2, 4)), torch.tensor([0, 2])).backward()
        steps.step()

    step()  # the first step makes the optimizer's state
    return metered(step)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_training_is_priced_alike_in_every_form(optimizer: type[torch.optim.Optimizer]) -> None:
    settings = {"momentum": 0.9} if optimizer is torch.optim.SGD else {}
    forms = [{"foreach": False}, {"foreach": True}, {"fused": True}]
    meters = [_training_step(optimizer, **settings, **form) for form in forms]
    assert not any(meter.unpriced for meter in meters)
    assert len({meter.flops for meter in meters}) == 1


# --- The meter itself -------------------------------------------------------------------------


def test_unpriced_operations_are_listed_by_name() -> None:
    meter = metered(lambda: (triple(X), triple(X), X + Y))
    assert meter.unpriced == {"outsample_test::triple": 2}
    assert meter.by_operation == {"add": 24}
    with pytest.warns(OutsampleWarning, match=r"outsample_test::triple \(1×\).*report_flops"):
        assert count_flops(lambda: triple(X) + Y) == 24


def test_an_operation_that_reports_needs_no_price() -> None:
    with FlopMeter() as outer, FlopMeter() as inner:
        reporting_triple(X)
    for meter in (outer, inner):
        assert meter.by_operation == {"reporting_triple": 24}
        assert not meter.unpriced


def test_nested_meters_both_count_and_nothing_counts_outside() -> None:
    torch.ones(3).add(1)
    with FlopMeter() as outer:
        torch.ones(3).add(1)
        with FlopMeter() as inner:
            torch.ones(5).add(1)
            report_flops(100, "kernel")
            report_flops(0, "kernel")
        report_flops(1000, "kernel")
    torch.ones(3).add(1)
    report_flops(10000, "kernel")
    assert inner.by_operation == {"add": 5, "kernel": 100}
    assert outer.by_operation == {"add": 8, "kernel": 1100}
    with outer:
        torch.ones(2).add(1)
    assert outer.flops == 8 + 1100 + 2  # entered again, a meter goes on


def test_a_meter_is_left_when_the_work_fails() -> None:
    with pytest.raises(RuntimeError), FlopMeter() as meter:
        torch.ones(2).dot(torch.ones(3))
    torch.ones(2).add(1)
    report_flops(5, "kernel")
    assert meter.flops == 0


def test_other_threads_are_not_counted() -> None:
    def work() -> None:
        torch.ones(3).add(1)
        report_flops(7, "kernel")

    with FlopMeter() as meter:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert meter.flops == 0


def test_compiled_code_is_counted_by_its_operations() -> None:
    compiled = torch.compile(lambda x: torch.tanh(x) @ x.T, backend="eager")
    compiled(X)
    assert metered(lambda: compiled(X)).by_operation == {"tanh": 20 * 24, "mm": 2 * 4 * 6 * 4}


def test_metering_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch\n"
        "from outsample.cost import count_flops\n"
        "assert count_flops(lambda: torch.ones(3).exp()) == 30\n"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("flops", [-1, 1.5, "3", None])
def test_reports_are_counts(flops: object) -> None:
    with pytest.raises(InputError, match="kernel"):
        report_flops(flops, "kernel")  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_results_are_the_same_under_the_meter(context: Callable) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.BatchNorm1d(5).eval(), nn.Linear(5, 3))

    def work() -> list[Tensor]:
        with context():
            out = net(normal(7, 4, dtype=torch.float32))
            noise = torch.randn(3, generator=torch.Generator().manual_seed(2))
            results = [out, noise, torch.special.ndtr(out), torch.linalg.qr(out).R]
        if torch.is_grad_enabled() and out.requires_grad:
            results += torch.autograd.grad(out.sum(), list(net.parameters()))
        return results

    plain = work()
    with FlopMeter():
        under = work()
    assert all(torch.equal(a, b) for a, b in zip(plain, under, strict=True))


# --- The price list ---------------------------------------------------------------------------


def test_the_printed_price_list_is_the_one_in_use() -> None:
    page = Path(__file__).resolve().parents[1] / "docs/theory/price-list.md"
    printed = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    rows = [
        f"| {row.work} | {row.price} | {' '.join(f'`{name}`' for name in row.operations)} |"
        for row in price_list()
    ]
    assert printed == ["| Work | FLOPs | Operations |", "| --- | --- | --- |", *rows]


def test_every_name_is_an_operation_and_has_one_price() -> None:
    names = Counter(name for row in price_list() for name in row.operations)
    assert max(names.values()) == 1
    schemas = (schema.name for schema in torch._C._jit_get_all_schemas())
    assert not names.keys() - {name.removeprefix("aten::").rstrip("_") for name in schemas}


# --- Cost -------------------------------------------------------------------------------------


def test_cost_counts_once_and_only_when_asked() -> None:
    calls = []
    cost = Cost(0.00123, lambda: calls.append(1) or 120_000_000)
    assert repr(cost) == "Cost(seconds=0.00123)"
    assert not calls
    assert (cost.flops, cost.flops) == (120_000_000, 120_000_000)
    assert calls == [1]
    assert repr(cost) == "Cost(seconds=0.00123, flops=1.2e+08)"
    assert cost.to_dict() == {"seconds": 0.00123, "flops": 120_000_000}


def test_cost_may_be_known_or_unknown() -> None:
    assert Cost(0.0, 5).flops == 5
    assert Cost(1.0).to_dict() == {"seconds": 1.0, "flops": None}


def test_cost_is_read_only_and_travels() -> None:
    cost = Cost(2.0, lambda: 7)
    with pytest.raises(AttributeError):
        cost.seconds = 1.0  # type: ignore[misc]
    with pytest.raises(AttributeError):
        cost.flops = 1  # type: ignore[misc]
    for twin in (pickle.loads(pickle.dumps(cost)), copy.deepcopy(cost)):
        assert twin.to_dict() == {"seconds": 2.0, "flops": 7}


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_cost_refuses_times_that_are_none(seconds: float) -> None:
    with pytest.raises(InputError, match="seconds"):
        Cost(seconds)


def test_the_package_exports_what_it_documents() -> None:
    assert all(getattr(outsample.cost, name).__doc__ for name in outsample.cost.__all__)
