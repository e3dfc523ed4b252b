"""A batch that several processes share: each has its rows of it, and all take the step that one process would take.

The gradient of a step is the mean of the processes' gradients (DistributedDataParallel), so a term that is a mean over
rows is right as it is. What counts something else is brought to the whole batch here: means over what is not spread
evenly, random draws, the statistics of batch normalization. With one process nothing is exchanged.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 - the field's name
from torch.overrides import TorchFunctionMode

from geo_perception.errors import InputError
from geo_training import processes

Made = TypeVar("Made")


def world() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is; 0 is the one that measures and writes."""
    return dist.get_rank() if world() > 1 else 0


def own_rows(batch: int) -> slice:
    """This process's rows of a whole batch. Raises InputError where the processes cannot share it evenly."""
    count = world()
    if batch % count:
        raise InputError(f"a batch of {batch} cannot be shared evenly by {count} processes; give a multiple of {count}")
    share = batch // count
    return slice(rank() * share, (rank() + 1) * share)


def own_draw(draw: Callable[[int], torch.Tensor], rows: int) -> torch.Tensor:
    """This process's `rows` rows of what `draw` draws for all the rows of the whole batch."""
    return draw(rows * world())[own_rows(rows * world())]


def whole_mean(values: torch.Tensor) -> torch.Tensor:
    """The mean over the whole batch of values of which each process has some, or none: a scalar, 0 where there are no
    values at all. Its mean over the processes is that mean, and so are gradients; alone it is this process's part."""
    count = torch.tensor(values.numel(), dtype=torch.float64, device="cpu" if world() == 1 else values.device)
    if world() > 1:
        dist.all_reduce(count)
    return values.sum() * (world() / max(float(count), 1.0))


def in_any(mask: torch.Tensor) -> torch.Tensor:
    """Where the mask (bool) of any process is set."""
    if world() == 1:
        return mask
    count = mask.to(torch.int32)
    dist.all_reduce(count)
    return count > 0


def once(make: Callable[[], Made]) -> Made:
    """What `make` returns in the main process, alone; the others wait for it and get it, too."""
    box = [make() if rank() == 0 else None]
    if world() > 1:
        dist.broadcast_object_list(box)
    return box[0]


def gathered(own: Made) -> list[Made]:
    """What each process gives here, in their order."""
    found = [own] * world()
    if world() > 1:
        dist.all_gather_object(found, own)
    return found


def share_weights(network: torch.nn.Module) -> None:
    """Gives all processes the main one's weights and buffers, in place."""
    if world() > 1:
        network.load_state_dict(once(lambda: {key: value.cpu() for key, value in network.state_dict().items()}))


def ends_with_the_others(function):
    """Raises InputError where another process of the training has ended, rather than what its silence looks like."""

    @functools.wraps(function)
    def call(*arguments, **options):
        try:
            with _told_by_the_launcher():
                return function(*arguments, **options)
        except RuntimeError as error:
            of_backend = isinstance(error, dist.DistError)
            if processes.world() == 1 or not (of_backend or any(sign in str(error) for sign in _LOST)):
                raise
            detail = f" ({str(error).splitlines()[0]})" if of_backend and str(error) else ""
            raise InputError(processes.ANOTHER_ENDED.format(detail)) from None

    return call


@contextlib.contextmanager
def _told_by_the_launcher() -> Iterator[None]:
    """torchrun ends a process by SIGTERM when another has ended, often before the lost connection is felt: raises
    InputError then. A process that is about to end with an error heeds no further one, so that it can say its line;
    what hangs all the same torchrun kills."""
    if not dist.is_torchelastic_launched() or threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_ended(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise InputError(processes.ANOTHER_ENDED.format(""))

    earlier = signal.signal(signal.SIGTERM, raise_ended)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, earlier)


_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  # as gloo puts it


class WholeBatch(TorchFunctionMode):
    """While it is entered batch normalization in training takes its statistics over the whole batch, and dropout draws
    for the whole batch, too.

    Not torch's SyncBatchNorm: it computes on a GPU only, and takes the place of the networks' own modules.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if world() > 1:
            if func is F.batch_norm:
                return _batch_norm(*args, **(kwargs or {}))
            if func in (F.dropout, F.dropout2d):
                return _dropout(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _dropout(function, x, p=0.5, training=True, inplace=False):
    # Whole maps are drawn by their channels alone.
    drawn = [*x.shape[1:2], 1, 1] if function is F.dropout2d else x.shape[1:]
    return x * own_draw(lambda rows: function(x.new_ones(rows, *drawn), p, training), len(x))


def _batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    dims = [0, *range(2, x.ndim)]
    y, mean_c, var_c = _Normalized.apply(x, dims, eps)
    if running_mean is not None:
        count = world() * x.numel() // x.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean_c.to(running_mean.dtype), momentum)
            running_var.lerp_((var_c * (count / max(count - 1, 1))).to(running_var.dtype), momentum)
    if weight is not None:
        y = y * _per_channel(weight, y) + _per_channel(bias, y)
    return y.to(x.dtype)


class _Normalized(torch.autograd.Function):
    """x (B, C, ...), of which each process has equally many rows, to mean 0 and variance 1 of each channel in float32;
    with mean and variance (C,), which have no gradient."""

    @staticmethod
    def forward(ctx, x, dims, eps):
        x = x.float()
        own_var_c, own_mean_c = torch.var_mean(x, dims, correction=0)
        means_and_vars = [torch.empty_like(own_mean_c).expand(2, -1).contiguous() for _ in range(world())]
        dist.all_gather(means_and_vars, torch.stack([own_mean_c, own_var_c]))
        means_pc, vars_pc = torch.stack(means_and_vars, dim=1)
        mean_c, var_c = means_pc.mean(dim=0), vars_pc.mean(dim=0) + means_pc.var(dim=0, correction=0)
        scale_c = torch.rsqrt(var_c + eps)
        normalized = (x - _per_channel(mean_c, x)) * _per_channel(scale_c, x)
        ctx.save_for_backward(normalized, scale_c)
        ctx.dims = dims
        ctx.mark_non_differentiable(mean_c, var_c)
        return normalized, mean_c, var_c

    @staticmethod
    def backward(ctx, gradient, *_):
        normalized, scale_c = ctx.saved_tensors
        sums_2c = torch.stack([gradient.sum(ctx.dims), (gradient * normalized).sum(ctx.dims)])
        dist.all_reduce(sums_2c)
        means_2c = sums_2c * (gradient.shape[1] / (world() * gradient.numel()))
        centred = gradient - _per_channel(means_2c[0], gradient) - normalized * _per_channel(means_2c[1], gradient)
        return centred * _per_channel(scale_c, gradient), None, None


def _per_channel(values_c: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return values_c.view(1, -1, *[1] * (like.ndim - 2))
