"""Which advice an estimator goes by: what it is given, if that fits, else its own."""

from outsample.errors import OutsampleWarning, warn
from outsample.estimator import Explanation
from outsample.readout.hermite_tensors import MISMATCH, HermiteTensors
from outsample.readout.problem import TwoLayer


def advice_for(
    problem: TwoLayer,
    explanation: Explanation | None,
    degree: int,
    directions: int,
    mismatch: float = MISMATCH,
) -> tuple[HermiteTensors, str]:
    """The explanation if it passes the audit, else tensors built here; and which it was."""
    used = "none"
    if isinstance(explanation, HermiteTensors):
        complaint = explanation.audit(problem, mismatch)
        if complaint is None:
            return explanation, "used"
        used = f"refused: {complaint}"
        warn(
            f"the Hermite tensors given do not fit the network: {complaint}; built anew",
            OutsampleWarning,
        )
    return HermiteTensors.of(problem, degree, directions), used
