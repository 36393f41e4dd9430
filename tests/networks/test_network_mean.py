import pytest
import torch
from tests.battery import gaussian, mlp
from torch import nn

import outsample as ou


def double(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers).double()


def test_value_of_the_function() -> None:
    net = mlp(5, 6, 3)
    problem = ou.NetworkMean(net, gaussian(5))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(problem(x), net(x))
    torch.testing.assert_close(problem.graph()(x), net(x))


@pytest.mark.parametrize(
    ("output", "rows"),
    [(1, [1]), (-1, [3]), (slice(1, 3), [1, 2]), (slice(None, None, 2), [0, 2])],
)
@pytest.mark.parametrize("ends_in_activation", [False, True])
def test_selected_outputs(output: int | slice, rows: list[int], ends_in_activation: bool) -> None:
    net = mlp(5, 6, 4)
    if ends_in_activation:
        net.append(nn.Tanh())
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = ou.NetworkMean(net, gaussian(5), output=output)
    expected = net(x)[:, rows]
    assert problem.output_shape == (() if isinstance(output, int) else (len(rows),))
    torch.testing.assert_close(problem.graph()(x), expected)
    torch.testing.assert_close(problem(x), expected.reshape(7, *problem.output_shape))


def test_linear_functionals_of_the_outputs() -> None:
    margins = torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    problem = ou.NetworkMean(mlp(5, 6, 3), gaussian(5), output=margins)
    whole = ou.NetworkMean(mlp(5, 6, 3), gaussian(5))
    assert problem.output_shape == (2,)
    array = ou.NetworkMean(mlp(5, 6, 3), gaussian(5), output=margins.numpy())
    assert torch.equal(array(problem.inputs.mean[None]), problem(problem.inputs.mean[None]))
    torch.testing.assert_close(
        ou.Cumulants(2).estimate(problem).value,
        margins.double() @ ou.Cumulants(2).estimate(whole).value,
    )


def test_nested_chains_flatten_and_evaluation_dropout() -> None:
    inner = double(nn.Linear(4, 6), nn.Dropout(0.5), nn.ReLU())
    net = double(nn.Flatten(), inner, nn.Identity(), nn.Sequential(nn.Linear(6, 2))).eval()
    problem = ou.NetworkMean(net, gaussian(4))
    assert problem.describe() == "NetworkMean 4-6-relu-2"
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(problem.graph()(x), net(x))


def test_the_input_law_takes_the_dtype_of_the_network() -> None:
    problem = ou.NetworkMean(mlp(3, 4, 1), ou.Gaussian.standard(3))
    assert problem.dtype == problem.inputs.dtype == torch.float64


def test_parametrized_layers_are_read_through() -> None:
    net = mlp(4, 5, 2)
    nn.utils.parametrizations.weight_norm(net[0])
    problem = ou.NetworkMean(net, gaussian(4))
    before = ou.Cumulants(2).estimate(problem)
    with torch.no_grad():
        net[0].get_parameter("parametrizations.weight.original0").mul_(2)
    assert before.provenance.input_hash is None
    assert not torch.equal(ou.Cumulants(2).estimate(problem).value, before.value)


def test_a_module_may_stand_in_several_places() -> None:
    relu, square = nn.ReLU(), nn.Linear(4, 4)
    net = double(square, relu, square, relu, nn.Linear(4, 2))
    problem = ou.NetworkMean(net, gaussian(4))
    assert problem.describe() == "NetworkMean 4-4-relu-4-relu-2"


def test_exact_up_to_one_hidden_layer() -> None:
    assert ou.NetworkMean(mlp(4, 5, 5, 2), gaussian(4)).exact() is None
    problem = ou.NetworkMean(mlp(4, 5, 2), gaussian(4))
    exact = problem.exact()
    assert exact is not None
    torch.testing.assert_close(exact, ou.Cumulants(2).estimate(problem).value)
    torch.testing.assert_close(ou.Exact().estimate(problem).value, exact)


def test_equal_signatures_cost_the_same() -> None:
    one, two = (ou.NetworkMean(mlp(4, 5, 2, seed=s), gaussian(4, s)) for s in (0, 1))
    assert one.signature() == two.signature()
    other = ou.NetworkMean(mlp(4, 5, 2), ou.Gaussian.standard(4))
    assert one.signature() != other.signature()


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Residual(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


def with_weight(value: float) -> nn.Sequential:
    net = mlp(4, 5, 2)
    with torch.no_grad():
        net[2].weight[1, 3] = value
    return net


def hooked() -> nn.Sequential:
    net = mlp(4, 5, 2)
    net[1].register_forward_hook(lambda module, inputs, output: output + 1)
    return net


def mixed() -> nn.Sequential:
    net = mlp(4, 5, 2)
    net[2].float()
    return net


def integers() -> nn.Sequential:
    net = mlp(4, 5, 2)
    net[0].weight = nn.Parameter(torch.ones(5, 4, dtype=torch.int64), requires_grad=False)
    return net


BAD_NETWORKS = {
    "nan": (lambda: with_weight(float("nan")), "module 2.*weight.*1 non-finite"),
    "inf": (lambda: with_weight(float("inf")), "non-finite"),
    "widths": (lambda: double(nn.Linear(4, 5), nn.Linear(6, 2)), "takes 6 inputs.*gives 5"),
    "norm": (
        lambda: double(nn.Linear(4, 5), nn.BatchNorm1d(3)).eval(),
        "takes 3 inputs.*gives 5",
    ),
    "train dropout": (lambda: double(nn.Linear(4, 2), nn.Dropout()), "training mode"),
    "train norm": (lambda: double(nn.Linear(4, 2), nn.BatchNorm1d(2)), "training mode"),
    "empty": (lambda: nn.Sequential(), "no layers"),
    "only identity": (lambda: nn.Sequential(nn.Identity(), nn.Flatten()), "no layers"),
    "integers": (integers, "torch.int64"),
    "mixed": (mixed, "float32.*float64"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), "not initialised"),
    "hooks": (hooked, "does not compute the chain"),
    "first width": (lambda: mlp(3, 5, 2), "takes 3|takes.*3"),
    "not a module": (lambda: torch.relu, "expected a torch.nn.Module"),
}


@pytest.mark.parametrize("name", BAD_NETWORKS)
def test_bad_networks(name: str) -> None:
    build, message = BAD_NETWORKS[name]
    with pytest.raises(ou.InputError, match=message):
        ou.NetworkMean(build(), gaussian(4))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (nn.Conv1d(1, 1, 1), "Conv1d"),
        (nn.Softmax(-1), "Softmax"),
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)), "module 1 is LayerNorm"),
        (Odd(), "Odd"),
        (Residual(nn.Linear(4, 4)), "Residual"),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), "track_running_stats"),
    ],
)
def test_unknown_modules_are_refused_by_name(module: nn.Module, name: str) -> None:
    with pytest.raises(ou.UnsupportedProblem, match=name):
        ou.NetworkMean(module, gaussian(4))


def test_functions_that_mix_entries_are_refused() -> None:
    with pytest.raises(ou.InputError, match="entry by entry"):
        ou.Elementwise(lambda x: torch.softmax(x, -1))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (2, "output = 2"),
        (-3, "output = -3"),
        (slice(5, 9), "selects none"),
        (torch.ones(1, 3), r"\(1, 3\)"),
        (torch.ones(2, 2, dtype=torch.int64), "floating point"),
        ("logit", "'logit'"),
        (True, "True"),
    ],
)
def test_bad_selections(output: object, message: str) -> None:
    with pytest.raises(ou.InputError, match=message):
        ou.NetworkMean(mlp(4, 5, 2), gaussian(4), output=output)  # type: ignore[arg-type]


def test_training_mode_is_refused_later_too() -> None:
    net = double(nn.Linear(4, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 2)).eval()
    problem = ou.NetworkMean(net, gaussian(4))
    net.train()
    for estimator in (ou.Cumulants(2), ou.MonteCarlo(16)):
        with pytest.raises(ou.InputError, match="eval"):
            estimator.estimate(problem)


def test_weights_that_became_nan_are_an_error_of_the_estimate() -> None:
    net = mlp(4, 5, 2)
    problem = ou.NetworkMean(net, gaussian(4))
    with torch.no_grad():
        net[0].weight[0, 0] = float("nan")
    with pytest.raises(ou.NumericalError):
        ou.Cumulants(2).estimate(problem)


def test_round_off_in_a_small_output_is_no_hook() -> None:
    """tanh-GELU far on the negative side is 1 + tanh(…), of which few digits are left."""
    module = nn.Sequential(nn.Linear(1, 1), nn.GELU("tanh"), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for value in torch.linspace(-5.2, -3.0, 40):
            module[0].weight.fill_(0.0)
            module[0].bias.fill_(value.item())
            ou.NetworkMean(module, ou.Gaussian.standard(1))
