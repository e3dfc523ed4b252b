"""Batch normalization folded into the convolutions before it: the same answers with a pass over each map less."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_following = threading.Lock()  # fx changes how every module of the process is called while it follows one

Network = TypeVar("Network", bound=nn.Module)


def fold_normalization(network: Network) -> Network:
    """A copy of `network` in evaluation mode, for inference only, that gives the same answers but for rounding.

    Each batch normalization of what one convolution gives, to it alone, becomes part of that convolution. Where the
    order cannot be followed (a branch that depends on a shape), the parts of the network are looked at one by one. A
    module that normalizes sums may have a method `fold_own_normalization`, which is called on the copy first. `network`
    stays as it is: it is what is trained, saved and known by its checksum.
    """
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(folded.modules()):
        fold: Any = getattr(module, "fold_own_normalization", None)
        if fold is not None:
            fold()
    _fold(folded)
    return folded


def fold_into(convolutions: Sequence[Any], norm: Any) -> None:
    """Lets a sum of convolutions give what `norm` (in evaluation mode) makes of it. The first one takes its offset."""
    offset = True
    for convolution in convolutions:
        zeros, ones = torch.zeros_like(norm.running_mean), torch.ones_like(norm.running_var)
        mean, shift = (norm.running_mean, norm.bias) if offset else (zeros, zeros)
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, mean, norm.running_var, norm.eps,
            ones if norm.weight is None else norm.weight, zeros if shift is None else shift,
        )  # fmt: skip
        offset = False


def _fold(network: nn.Module) -> None:
    pairs = _pairs(network)
    if pairs is None:
        for child in network.children():
            _fold(child)
        return
    for convolution_name, norm_name in pairs:
        norm = network.get_submodule(norm_name)
        fold_into([network.get_submodule(convolution_name)], norm)
        network.set_submodule(norm_name, _what_remains(norm))


class _Tracer(fx.Tracer):
    """Follows a network of its own thread alone: others may compute meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        looked_for = nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm
        return isinstance(module, looked_for) or super().is_leaf_module(module, qualified_name)


def _pairs(network: nn.Module) -> list[tuple[str, str]] | None:
    """Names of convolutions and of the normalizations of their outputs; None where the network cannot be followed."""
    try:
        with _following:
            graph = _Tracer().trace(network)
    except Exception:  # a network may do anything with its input
        return None
    modules = dict(network.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_module"]
    called = Counter(id(modules[node.target]) for node in calls)
    pairs = []
    for node in calls:
        norm, source = modules[node.target], node.args[0] if node.args else None
        if not (isinstance(source, fx.Node) and source.op == "call_module" and len(source.users) == 1):
            continue
        convolution = modules[source.target]
        plain = _is_plain(convolution, _convolutions()) and _is_plain(norm, _norms())
        once = called[id(norm)] == called[id(convolution)] == 1
        if plain and once and norm.running_mean is not None:  # without a mean it normalizes by its input
            pairs.append((str(source.target), str(node.target)))
    return pairs


def _is_plain(module: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Of just these kinds (a subclass may do more with its weights), and watched by nobody."""
    return type(module) in kinds and not (module._forward_hooks or module._forward_pre_hooks)


def _convolutions() -> tuple[type, ...]:
    from timm.layers import Conv2dSame

    return nn.Conv1d, nn.Conv2d, nn.Conv3d, Conv2dSame


def _norms() -> tuple[type, ...]:
    from timm.layers import BatchNormAct2d

    return nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, BatchNormAct2d


def _what_remains(norm: Any) -> nn.Module:
    """timm's normalization has its activation in it."""
    return nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()
