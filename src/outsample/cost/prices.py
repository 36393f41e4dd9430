"""The price list: how many FLOPs one call of a PyTorch operation costs.

An operation goes by its functional name: ``aten::add_.Tensor`` is ``add``, and in-place, ``out``
and ``_foreach_`` forms cost what the functional form costs.  Why the prices are what they are is
written in docs/theory/price-list.md.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from outsample.cost import formulas
from outsample.cost.formulas import Call, Pricing


class PriceRow(NamedTuple):
    """One row of the price list."""

    #: What kind of work it is.
    work: str
    #: FLOPs of one call, in words.
    price: str
    #: Functional names of the operations.
    operations: tuple[str, ...]


def functional_name(operation: Any) -> str:
    """``add`` for ``aten::add_.Tensor``; other namespaces keep theirs: ``mine::kernel``."""
    name: str = operation.name().partition(".")[0]
    return name.removeprefix("aten::").rstrip("_") if operation.namespace == "aten" else name


def is_free(operation: Any) -> bool:
    """Whether it does no arithmetic whatever it is called: a view, or a mark of the profiler."""
    return (
        operation.is_view
        or torch.Tag.view_copy in operation.tags
        or operation.namespace in ("profiler", "prim")
    )


def find_price(name: str) -> Pricing | None:
    """The pricing of an operation by its functional name; None if it is not in the list."""
    return _PRICES.get(name.removeprefix("_foreach_"))


def price_call(
    name: str, pricing: Pricing, args: tuple[Any, ...], options: dict[str, Any], result: Any
) -> int:
    """FLOPs of one call, rounded up: the sum over its places if it works on lists of tensors."""
    if not name.startswith("_foreach_"):
        first = result[0] if isinstance(result, tuple) and result else result
        return _whole(pricing(Call(args, options, first)))
    return sum(_whole(pricing(call)) for call in _places(args, options, result))


def price_list() -> list[PriceRow]:
    """Return the whole price list, as printed in docs/theory/price-list.md."""
    return [row for row, _ in _TABLE]


def _whole(flops: float) -> int:
    return math.ceil(round(flops, 3))  # rounded first: thirds of n³ carry round-off


def _places(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> Iterator[Call]:
    length = len(next(a for a in args if isinstance(a, list | tuple)))
    for i in range(length):
        place = tuple(a[i] if isinstance(a, list | tuple) else a for a in args)
        yield Call(place, options, result[i] if result else place[0])  # in-place forms return None


def _row(work: str, price: str, pricing: Pricing, names: str) -> tuple[PriceRow, Pricing]:
    return PriceRow(work, price, tuple(names.split())), pricing


def _by_result(work: str, multiple: int, names: str) -> tuple[PriceRow, Pricing]:
    return _row(work, f"{multiple} per entry of the result", formulas.per_result(multiple), names)


def _by_operand(work: str, multiple: int, names: str) -> tuple[PriceRow, Pricing]:
    return _row(
        work, f"{multiple} per entry of the operand", formulas.per_argument(multiple, 0), names
    )


_SDPA = (
    "_scaled_dot_product_cudnn_attention{0} _scaled_dot_product_efficient_attention{0} "
    "_scaled_dot_product_flash_attention{0} _scaled_dot_product_flash_attention_for_cpu{0}"
)

_TABLE = [
    _row(
        "Products of matrices and vectors",
        "2mnk for m×k by k×n; 2 per stored pair if sparse",
        formulas.product(0),
        "_int_mm bmm dot mm mv vdot",
    ),
    _row(
        "Products added to a tensor, where its sums start",
        "2mnk",
        formulas.product(1),
        "_addmm_activation _sparse_addmm addbmm addmm addmv baddbmm",
    ),
    _row(
        "Convolutions",
        "2 per entry of the result (of the operand if transposed) and of the weight it meets",
        formulas.convolution,
        "convolution",
    ),
    _row(
        "Gradients of convolutions",
        "as the convolution for each of operand and weight; for the bias 1 per entry",
        formulas.convolution_backward,
        "convolution_backward",
    ),
    _row(
        "Attention",
        "2d + 2d′ + 14 per score, with keys of length d and values of length d′",
        formulas.attention(0, 2, 2, 14),
        _SDPA.format(""),
    ),
    _row(
        "Gradients of attention",
        "6d + 4d′ + 18 per score",
        formulas.attention(1, 6, 4, 18),
        _SDPA.format("_backward"),
    ),
    _row(
        "Sums and differences",
        "1 per entry of the result; 2 with a factor alpha",
        formulas.scaled_sum,
        "add rsub sub",
    ),
    _by_result(
        "Arithmetic, comparison, rounding, selection, running sums",
        1,
        "abs bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift "
        "bitwise_xor ceil clamp clamp_max clamp_min copysign cummax cummin cumprod cumsum "
        "deg2rad div eq floor floor_divide fmax fmin frac frexp ge gt hardshrink "
        "hardshrink_backward hardtanh hardtanh_backward heaviside isinf isnan isneginf isposinf "
        "ldexp le linspace logical_and logical_not logical_or logical_xor lt masked_fill maximum "
        "minimum mul nan_to_num ne neg nextafter nll_loss_backward rad2deg reciprocal relu round "
        "sgn sign signbit softshrink softshrink_backward threshold threshold_backward trunc where",
    ),
    _by_result(
        "Two operations per entry",
        2,
        "_prelu_kernel _prelu_kernel_backward addr leaky_relu leaky_relu_backward "
        "native_dropout_backward",
    ),
    _by_result(
        "Three operations per entry",
        3,
        "addcdiv addcmul "
        "binary_cross_entropy_backward fmod hardsigmoid hardsigmoid_backward hardswish "
        "hardswish_backward huber_loss_backward lerp linalg_cross mse_loss_backward remainder "
        "sigmoid_backward smooth_l1_loss_backward tanh_backward",
    ),
    _by_result("Square roots", 4, "hypot rsqrt sqrt"),
    _row(
        "Powers, by a constant exponent",
        "per entry of the result: 1 for 2 or −1; 2 for 3 or −2; 4 for ±½; else 24",
        formulas.power,
        "pow",
    ),
    _by_result(
        "Elementary functions",
        10,
        "acos acosh asin asinh atan atanh cos cosh exp exp2 expm1 log log10 log1p log2 logspace "
        "sin sinh tan",
    ),
    _by_result(
        "An elementary function with its arithmetic",
        14,
        "celu elu elu_backward glu log_sigmoid_backward logit logit_backward sigmoid silu "
        "sinc softplus_backward special_entr special_xlog1py xlogy",
    ),
    _by_result("Worth two elementary functions", 20, "erf erfc erfinv tanh"),
    _by_result(
        "Worth two elementary functions, with their arithmetic",
        24,
        "atan2 gelu glu_backward log_sigmoid_forward logaddexp logaddexp2 logcumsumexp polar "
        "silu_backward softplus",
    ),
    _by_result(
        "Special functions and gradients worth four elementary functions",
        40,
        "digamma gelu_backward i0 lgamma mish mish_backward special_bessel_j0 special_bessel_j1 "
        "special_erfcx special_i0e special_i1 special_i1e special_log_ndtr special_ndtri",
    ),
    _row(
        "Orthogonal polynomials of degree n",
        "3n per entry of the result",
        formulas.polynomial,
        "special_chebyshev_polynomial_t special_chebyshev_polynomial_u "
        "special_hermite_polynomial_h special_hermite_polynomial_he "
        "special_laguerre_polynomial_l special_legendre_polynomial_p",
    ),
    _by_result(
        "Random draws",
        20,
        "bernoulli cauchy exponential geometric log_normal native_dropout normal rand rand_like "
        "randint randint_like randn randn_like randperm random uniform",
    ),
    _by_operand(
        "Reductions",
        1,
        "_adaptive_avg_pool2d _is_all_true _is_any_true adaptive_max_pool2d all amax amin aminmax "
        "any argmax argmin bincount count_nonzero embedding_dense_backward equal max "
        "max_pool2d_with_indices_backward max_pool3d_with_indices_backward mean min nansum "
        "nll_loss_forward nonzero prod sum unfold_backward",
    ),
    _row("Traces", "n", lambda call: min(call.args[0].shape), "trace"),
    _by_operand("Norms", 2, "linalg_vector_norm norm"),
    _by_operand("Distances and losses", 3, "dist huber_loss mse_loss smooth_l1_loss"),
    _by_operand(
        "Variances; order statistics; gradient of the softmax",
        4,
        "_softmax_backward_data kthvalue median nanmedian std std_mean var var_mean",
    ),
    _by_operand(
        "Normalisation by layer or group; test of closeness",
        8,
        "allclose native_group_norm native_layer_norm",
    ),
    _row(
        "Batch normalisation",
        "2 per entry of the operand; 6 in training",
        formulas.batch_norm,
        "_native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm",
    ),
    _by_operand(
        "Softmax and its kind; gradients of normalisation",
        14,
        "_log_softmax _log_softmax_backward_data _softmax logsumexp native_batch_norm_backward "
        "native_group_norm_backward native_layer_norm_backward",
    ),
    _by_operand(
        "Cross-entropy of two classes", 24, "binary_cross_entropy binary_cross_entropy_with_logits"
    ),
    _row(
        "Additions into indexed places",
        "1 per entry added",
        formulas.per_argument(1, 3),
        "index_add index_reduce scatter_add scatter_reduce",
    ),
    _row(
        "Assignments to indexed places",
        "0; 1 per entry if they accumulate",
        formulas.accumulation,
        "_index_put_impl index_put put",
    ),
    _row(
        "Pooling",
        "1 per entry of each window",
        formulas.pooling,
        "avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices",
    ),
    _row(
        "Gradients of average pooling",
        "1 per entry of each window",
        formulas.pooling_backward,
        "avg_pool2d_backward avg_pool3d_backward",
    ),
    _row(
        "Distances between all pairs",
        "3d per pair of points in d dimensions",
        lambda call: 3 * call.args[0].size(-1) * formulas.entries(call.result),
        "_cdist_forward",
    ),
    _row(
        "Fourier transforms",
        "5N log₂ n for N entries in transforms of length n; half if one side is real",
        formulas.fourier,
        "_fft_c2c _fft_c2r _fft_r2c",
    ),
    _row("Sorting", "N⌈log₂ n⌉ for N entries in lists of length n", formulas.sort(1), "mode sort"),
    _row("Largest entries", "N⌈log₂ n⌉", formulas.sort(2), "topk"),
    _row(
        "Distinct entries",
        "N⌈log₂ N⌉",
        lambda call: formulas.comparisons(call.args[0].numel(), call.args[0].numel()),
        "_unique2 unique_consecutive unique_dim",
    ),
    _row(
        "Search in a sorted list",
        "⌈log₂ n⌉ per entry of the result",
        lambda call: formulas.comparisons(call.result.numel(), call.args[0].size(-1)),
        "searchsorted",
    ),
    _row(
        "Search among boundaries",
        "⌈log₂ n⌉ per entry of the result",
        lambda call: formulas.comparisons(call.result.numel(), call.args[1].size(-1)),
        "bucketize",
    ),
    _row(
        "Cholesky and LDL factors",
        "n³/3",
        formulas.matrices(lambda _, n: n**3 / 3),
        "linalg_cholesky_ex linalg_ldl_factor_ex",
    ),
    _row(
        "LU factors and determinants",
        "k²(l − k/3), k the shorter and l the longer side: 2n³/3",
        formulas.matrices(formulas.lu),
        "_linalg_det _linalg_slogdet linalg_lu linalg_lu_factor_ex",
    ),
    _row(
        "QR factors",
        "2k²(l − k/3) for R; and for k columns of Q 2k²(m − k/3), for m 4(m²k − mk² + k³/3)",
        formulas.matrices_by_option(formulas.qr),
        "linalg_qr",
    ),
    _row(
        "Householder vectors",
        "2k²(l − k/3)",
        formulas.matrices(formulas.householder),
        "geqrf linalg_householder_product",
    ),
    _row(
        "Symmetric eigenproblems",
        "9n³",
        formulas.matrices(lambda _, n: formulas.eigh(n)),
        "_linalg_eigh",
    ),
    _row("Eigenproblems", "25n³", formulas.matrices(lambda _, n: 25 * n**3), "linalg_eig"),
    _row("Eigenvalues", "10n³", formulas.matrices(lambda _, n: 10 * n**3), "_linalg_eigvals"),
    _row(
        "Singular values and vectors",
        "min(14lk² + 8k³, 6lk² + 20k³)",
        formulas.matrices(formulas.svd),
        "_linalg_svd",
    ),
    _row(
        "Pseudoinverses",
        "singular (if Hermitian, eigen-) values and vectors, and 2mnk",
        formulas.matrices_by_option(formulas.pseudoinverse),
        "linalg_pinv",
    ),
    _row("Inverses", "2n³", formulas.matrices(lambda _, n: 2 * n**3), "linalg_inv_ex"),
    _row(
        "Inverses from a Cholesky factor",
        "2n³/3",
        formulas.matrices(lambda _, n: 2 * n**3 / 3),
        "cholesky_inverse",
    ),
    _row("Linear systems", "2n³/3 and 2n² per column", formulas.solve, "_linalg_solve_ex"),
    _row(
        "Triangular systems", "n² per column", formulas.per_column(1, 0), "linalg_solve_triangular"
    ),
    _row(
        "Triangular systems, right side first",
        "n² per column",
        formulas.per_column(1, 1),
        "triangular_solve",
    ),
    _row(
        "Systems with known factors", "2n² per column", formulas.per_column(2, 1), "cholesky_solve"
    ),
    _row(
        "Systems with known factors, factors first",
        "2n² per column",
        formulas.per_column(2, 0),
        "linalg_lu_solve linalg_ldl_solve",
    ),
    _row(
        "Least squares", "2k²(l − k/3) and 4mn per column", formulas.least_squares, "linalg_lstsq"
    ),
    _row(
        "Fused steps of Adam",
        "16 per parameter",
        formulas.optimizer_step(16),
        "_fused_adam _fused_adamw",
    ),
    _row("Fused steps of SGD", "4 per parameter", formulas.optimizer_step(4), "_fused_sgd"),
    _row(
        "Moving, allocating, casting and indexing data; every view",
        "0",
        lambda _: 0,
        "_coalesce _coalesced _conj_physical _has_same_storage_numel _linalg_check_errors "
        "_local_scalar_dense _sparse_coo_tensor_with_dims "
        "_sparse_coo_tensor_with_dims_and_tensors _to_copy _to_dense _to_sparse _to_sparse_csr "
        "_unsafe_view arange as_strided block_diag cat clone complex constant_pad_nd copy detach "
        "diag_embed diagonal_backward diagonal_scatter embedding empty empty_like empty_strided "
        "eye fill flip full full_like gather im2col index index_copy index_fill index_select "
        "is_coalesced is_same_size is_set_to lift lift_fresh lu_unpack masked_scatter "
        "masked_select new_empty new_empty_strided new_full new_ones new_zeros ones ones_like "
        "promote_types repeat repeat_interleave resize roll scalar_tensor scatter select_backward "
        "select_scatter set slice_backward slice_scatter squeeze stack t take transpose tril "
        "tril_indices triu triu_indices unsafe_split unsafe_split_with_sizes unsqueeze zero zeros "
        "zeros_like",
    ),
]

_PRICES = {name: pricing for row, pricing in _TABLE for name in row.operations}
