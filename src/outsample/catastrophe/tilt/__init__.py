"""Gaussian tilts: the mechanistic estimator of probabilities that no sample shows."""

from outsample.catastrophe.tilt.tilt import CatastropheMode, Tilt, TiltEstimate

__all__ = ["CatastropheMode", "Tilt", "TiltEstimate"]
