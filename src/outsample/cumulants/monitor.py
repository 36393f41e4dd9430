"""Watches a propagation for numerical repairs, without slowing it down."""

import torch
from torch import Tensor

from outsample.errors import warn
from outsample.estimator import Trust


class VarianceMonitor:
    """Notes the variances that each activation step takes in; negative ones are read as zero."""

    def __init__(self) -> None:
        self._variances: list[Tensor] = []

    def note(self, variance: Tensor) -> None:
        """Remember one layer's variances; nothing is computed on the host yet."""
        self._variances.append(variance.detach())

    def verdict(self) -> tuple[Trust, tuple[str, ...], dict[str, float]]:
        """Trust, reasons and diagnostics; warns once about clamping beyond round-off."""
        if not self._variances or float(torch.cat(self._variances).amin()) >= 0:
            return "ok", (), {"clamped_variances": 0}
        count, worst = 0, 0.0
        for variance in self._variances:
            relative = variance / variance.amax().clamp_min(torch.finfo(variance.dtype).tiny)
            count += int((variance < 0).sum())
            worst = max(worst, -float(relative.amin()))
        diagnostics = {"clamped_variances": count, "largest_clamped": worst}
        if worst < variance_round_off(self._variances[0].dtype):
            return "ok", (), diagnostics
        reason = (
            f"{count} pre-activation variances came out negative and were set to zero; the largest "
            f"was {worst:.3g} of its layer's largest variance"
        )
        warn(reason)
        return "low_confidence", (reason,), diagnostics


def variance_round_off(dtype: torch.dtype) -> float:
    """Relative size below which a negative variance is round-off, not a failed closure."""
    return 1e3 * torch.finfo(dtype).eps
