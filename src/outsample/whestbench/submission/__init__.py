"""Cumulant propagation written on ``flopscope.numpy``, as ``outsample whestbench export`` ships it.

A submission folder gets a copy of this package under the name ``cumulant_propagation``; it needs
flopscope and nothing of outsample.  Weights come as WhestBench gives them, of shape (in, out); the
arithmetic on vectors is in float64, that on matrices in float32, which costs half as much.
"""
