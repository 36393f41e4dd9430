"""The strengths at which a quadratic model reaches its thresholds."""

import numpy as np
import pytest
import torch
from tests.battery import gaussian, mlp

import outsample as ou
from outsample.catastrophe.tilt.law import TiltedLaw
from outsample.catastrophe.tilt.order2 import Local, local
from outsample.catastrophe.tilt.saddle import Quadratic, is_definite, saddle


def _model(outputs: int, *hidden: int) -> tuple[TiltedLaw, Local, Quadratic]:
    net = mlp(6, *(hidden or (12, 9)), outputs).requires_grad_(False)
    graph = ou.NetworkMean(net, ou.Gaussian.standard(6)).graph()
    law = TiltedLaw(0.3 * gaussian(6).mean, 1.2 * torch.eye(6).double())
    outputs_at = local(graph, law.mean, law.covariance)
    return law, outputs_at, Quadratic(law, outputs_at)


def test_the_model_repeats_what_it_was_made_from() -> None:
    # Deeper, order 2 has less variance than its own quadratic part, which the model mends.
    law, outputs, model = _model(3, 12)
    torch.testing.assert_close(model.means(law), outputs.mean)
    torch.testing.assert_close(model.covariances(law), outputs.covariance)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_thresholds_are_reached(outputs: int) -> None:
    _, local_outputs, model = _model(outputs)
    deviation = local_outputs.covariance.diagonal().sqrt()
    thresholds = local_outputs.mean + 2 * deviation
    strength = saddle(model, thresholds, torch.zeros(outputs).double())
    law = model.tilted(strength)
    assert is_definite(law.precision)
    gap = (thresholds - model.means(law) - model.residual @ strength) / deviation
    assert bool((strength >= 0).all())
    np.testing.assert_allclose(gap[strength > 0], 0, atol=1e-5)
    assert bool((gap[strength == 0] <= 1e-9).all())


def test_what_holds_anyway_does_not_pull() -> None:
    _, outputs, model = _model(2)
    thresholds = torch.stack((outputs.mean[0] + 5, outputs.mean[1] - 50))
    strength = saddle(model, thresholds, torch.zeros(2).double())
    assert strength[0] > 0
    assert strength[1] == 0


def test_a_model_that_cannot_reach_its_threshold_stops_where_the_law_exists() -> None:
    law = TiltedLaw.untilted(torch.zeros(2).double())
    eye = torch.eye(2).double()
    zero = torch.zeros(1).double()
    # f = |x|² / 2, whose moment generating function is infinite from 1 on.
    model = Quadratic(
        law, Local(zero + 1, zero[:, None] + 1, torch.zeros(1, 2).double(), eye[None])
    )
    strength = saddle(model, zero + 1e6, zero)
    assert 0.9 < float(strength) < 1
    assert is_definite(model.precision(0.99 * strength))
