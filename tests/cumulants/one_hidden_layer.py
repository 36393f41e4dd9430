"""A network on which every propagation estimator is exact: one hidden layer of ReLU."""

import mpmath
import torch
from tests.battery import NetworkEstimatorBattery, gaussian, mlp
from torch import Tensor

import outsample as ou
from outsample.problem import Problem


class OneHiddenLayer(NetworkEstimatorBattery):
    """With one hidden layer every order is exact."""

    tolerance = 1e-12

    def make_problem(self, dtype: torch.dtype) -> Problem:
        return ou.NetworkMean(mlp(6, 9, 3, dtype=dtype), gaussian(6, dtype=dtype))

    def exact_value(self, problem: Problem) -> Tensor:
        """ReLU at Gaussians: E = μ Φ(μ/σ) + σ φ(μ/σ), in high precision."""
        net = mlp(6, 9, 3)
        law = gaussian(6)
        with torch.no_grad():
            mean = net[0](law.mean)
            std = (net[0].weight @ law.covariance @ net[0].weight.T).diagonal().sqrt()
            hidden = [
                float(m * mpmath.ncdf(m / s) + s * mpmath.npdf(m / s))
                for m, s in zip(mean.tolist(), std.tolist(), strict=True)
            ]
            return net[2](torch.tensor(hidden, dtype=torch.float64))
