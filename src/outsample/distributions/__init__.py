"""Laws of random inputs."""

from outsample.distributions.arrays import ArrayLike, as_tensor
from outsample.distributions.bits import Bits
from outsample.distributions.gaussian import Gaussian
from outsample.distributions.mixture import GaussianMixture
from outsample.distributions.permutations import Permutations
from outsample.distributions.sphere import Sphere

__all__ = [
    "ArrayLike",
    "Bits",
    "Gaussian",
    "GaussianMixture",
    "Permutations",
    "Sphere",
    "as_tensor",
]
