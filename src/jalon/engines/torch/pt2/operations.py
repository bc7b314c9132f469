"""What a program may be made of: arithmetic on tensors and on numbers, by name, and nothing else.

Everything that is not named here is refused, whatever it does: torch has operations that open files, import code or share
memory under the same kind of name.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from jalon.engines.torch.formats import Refused

Operation = Callable[..., Any]

_ATEN = re.compile(r"torch\.ops\.aten\.([a-zA-Z_][a-zA-Z0-9_]*)\.([a-zA-Z][a-zA-Z0-9_]*)")
_FAMILIES = ("fft_", "linalg_", "special_", "bitwise_", "logical_")
_GREATEST = 1 << 63

_NAMES = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _assert_scalar _assert_tensor_metadata _cdist_forward _conj _convolution
    _embedding_bag _embedding_bag_forward_only _euclidean_dist _fft_c2c _fft_c2r _fft_r2c _fused_rms_norm _is_all_true
    _is_any_true _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd _local_scalar_dense _log_softmax
    _logcumsumexp _masked_softmax _native_batch_norm_legit _native_batch_norm_legit_functional
    _native_batch_norm_legit_no_training _native_multi_head_attention _neg_view _pack_padded_sequence _pad_circular _pad_enum
    _pad_packed_sequence _pdist_forward _prelu_kernel _reshape_copy _safe_softmax _scaled_dot_product_attention_math
    _scaled_dot_product_flash_attention_for_cpu _shape_as_tensor _softmax _stack _to_copy _transformer_encoder_layer_fwd
    _trilinear _unique2 _unsafe_index _unsafe_masked_index _unsafe_view _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d _weight_norm _weight_norm_interface
    abs absolute acos acosh adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
    adaptive_max_pool2d adaptive_max_pool3d add addbmm addcdiv addcmul addmm addmv addr adjoint affine_grid_generator alias
    alias_copy all allclose alpha_dropout amax amin aminmax angle any arange arccos arccosh arcsin arcsinh arctan arctan2
    arctanh argmax argmin argsort argwhere as_strided as_strided_copy as_strided_scatter asin asinh atan atan2 atanh
    atleast_1d atleast_2d atleast_3d avg_pool1d avg_pool2d avg_pool3d baddbmm bartlett_window batch_norm bernoulli bilinear
    binary_cross_entropy binary_cross_entropy_with_logits bincount blackman_window block_diag bmm broadcast_tensors
    broadcast_to bucketize cartesian_prod cat cdist ceil celu chain_matmul channel_shuffle cholesky cholesky_inverse
    cholesky_solve chunk clamp clamp_max clamp_min clip clone col2im column_stack combinations complex concat concatenate
    conj conj_physical constant_pad_nd contiguous conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d
    conv_transpose3d convolution copy copysign corrcoef cos cosh cosine_embedding_loss cosine_similarity count_nonzero cov
    cross cross_entropy_loss ctc_loss cummax cummin cumprod cumsum cumulative_trapezoid deg2rad det detach detach_copy diag
    diag_embed diagflat diagonal diagonal_copy diagonal_scatter diff digamma dist div divide dot dropout dsplit dstack einsum
    elu embedding embedding_bag empty empty_like empty_permuted empty_strided eq equal erf erfc erfinv exp exp2 expand
    expand_as expand_copy expm1 eye feature_alpha_dropout feature_dropout fill fill_diagonal fix flatten flip fliplr flipud
    float_power floor floor_divide fmax fmin fmod frac frexp frobenius_norm full full_like gather gcd ge gelu ger glu
    gradient greater greater_equal grid_sampler grid_sampler_2d grid_sampler_3d group_norm gru gru_cell gt hamming_window
    hann_window hardshrink hardsigmoid hardswish hardtanh heaviside hinge_embedding_loss histc histogram hsplit hstack
    huber_loss hypot i0 igamma igammac im2col imag index index_add index_copy index_fill index_put index_reduce index_select
    inner instance_norm inverse is_nonzero isclose isfinite isin isinf isnan isneginf isposinf isreal istft item
    kaiser_window kl_div kron kthvalue l1_loss layer_norm lcm ldexp le leaky_relu lerp less less_equal lgamma lift
    lift_fresh lift_fresh_copy linear linspace log log10 log1p log2 log_sigmoid log_sigmoid_forward log_softmax logaddexp
    logaddexp2 logcumsumexp logdet logit logspace logsumexp lstm lstm_cell lt mH mT margin_ranking_loss masked_fill
    masked_scatter masked_select matmul matrix_exp matrix_power max max_pool1d max_pool1d_with_indices max_pool2d
    max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool2d max_unpool3d maximum mean median meshgrid min
    minimum mish mm mode moveaxis movedim mse_loss msort mul multi_margin_loss multilabel_margin_loss multinomial multiply
    mv mvlgamma nan_to_num nanmean nanmedian nanquantile nansum narrow narrow_copy native_batch_norm native_channel_shuffle
    native_dropout native_group_norm native_layer_norm ne neg negative new_empty new_empty_strided new_full new_ones
    new_zeros nextafter nll_loss nll_loss2d nll_loss_nd nonzero nonzero_numpy norm norm_except_dim normal
    normal_functional not_equal nuclear_norm numel numpy_T one_hot ones ones_like outer pad pad_sequence pairwise_distance
    pdist permute permute_copy pinverse pixel_shuffle pixel_unshuffle poisson_nll_loss polar polygamma positive pow prelu
    prod put qr quantile rad2deg rand rand_like randint randint_like randn randn_like randperm range ravel real reciprocal
    reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 remainder renorm repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d reshape reshape_as resolve_conj resolve_neg rms_norm rnn_relu
    rnn_relu_cell rnn_tanh rnn_tanh_cell roll rot90 round row_stack rrelu rsqrt rsub scalar_tensor
    scaled_dot_product_attention scatter scatter_add scatter_reduce searchsorted select select_copy select_scatter selu sgn
    sigmoid sign signbit silu sin sinc sinh slice slice_copy slice_inverse slice_scatter slogdet smooth_l1_loss
    soft_margin_loss softmax softplus softshrink sort split split_copy split_with_sizes split_with_sizes_copy sqrt square
    squeeze squeeze_copy stack std std_mean stft sub subtract sum sum_to_size svd swapaxes swapdims sym_constrain_range
    sym_constrain_range_for_size sym_is_contiguous sym_numel sym_size sym_storage_offset sym_stride t t_copy take
    take_along_dim tan tanh tensor_split tensordot threshold tile to topk trace transpose transpose_copy trapezoid trapz tril
    tril_indices triplet_margin_loss triu triu_indices true_divide trunc type_as unbind unbind_copy unflatten unfold
    unfold_copy uniform unique_consecutive unique_dim unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze
    unsqueeze_copy upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_trilinear3d vander var var_mean vdot view view_as view_as_complex view_as_complex_copy
    view_as_real view_as_real_copy view_copy vsplit vstack where xlogy zero zeros zeros_like
    """.split()  # noqa: SIM905  # a list of them would be four times as long
)
"""Those of ``aten`` that compute a tensor from tensors and numbers. With a ``_`` at its end each works in place."""


def operation(target: str) -> Operation:
    """Return what computes an operation.

    Args:
        target: Its name in the program, as ``"torch.ops.aten.linear.default"``.

    Raises:
        Refused: It is none of those that a program may be made of.

    Example:
        >>> operation("torch.ops.aten.add.Tensor")(torch.ones(2), torch.ones(2))
        tensor([2., 2.])
    """
    if target in _ON_NUMBERS:
        return partial(_on_numbers, _ON_NUMBERS[target])
    named = _ATEN.fullmatch(target)
    if named is None or not _is_arithmetic(named[1]):
        raise Refused(f"asks for {target}, which is no arithmetic that jalon runs")
    packet = getattr(torch.ops.aten, named[1], None)
    if packet is None or named[2] not in packet.overloads():
        raise Refused(f"asks for {target}, which this version of torch does not have")
    found: Operation = getattr(packet, named[2])
    return found


def _is_arithmetic(name: str) -> bool:
    return name in _NAMES or name.removesuffix("_") in _NAMES or name.startswith(_FAMILIES)


def _on_numbers(compute: Operation, *numbers: Any) -> Any:
    result = compute(*numbers)
    if isinstance(result, int) and abs(result) >= _GREATEST:
        raise OverflowError("a number in the program is greater than any size of a tensor")
    return result


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > _GREATEST.bit_length():
        raise OverflowError("a number in the program is greater than any size of a tensor")
    return base**exponent


_ON_NUMBERS: dict[str, Operation] = {
    **{
        f"_operator.{one.__name__}": one
        for one in (
            *(operator.eq, operator.ne, operator.le, operator.ge, operator.lt, operator.gt, operator.neg, operator.pos),
            *(operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod),
            *(operator.and_, operator.or_),
        )
    },
    "_operator.pow": _power,
    "math.trunc": math.trunc,
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch._sym_sqrt": math.sqrt,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_ite": lambda condition, one, other: one if condition else other,
}
"""What is computed with the sizes of tensors. None of it grows faster than its operands."""
