"""A layer's computation as an operator of PyTorch, which eager calls do without."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from torchdau.arguments import is_autocast_enabled, is_channels_last, is_observed, needs_gradient

TENSORS = 5
"""Input, weight, displacement, sigma and bias: the first arguments of an operator."""

Gradients = Callable[[bool, Tensor, Sequence[Tensor], Sequence[Tensor], tuple[Any, ...], list[bool]], Sequence[Any]]


class Operator:
    """A forward pass that compilers, exports, dispatch modes and tensor subclasses see as one operator.

    Calling a registered operator costs as much time as computing a small layer. Eager calls run the same functions
    without it.

    Args:
        name: name of the operator.
        forward: function of the five tensors and options. It returns the output, or a tuple of the output and tensors
            that are kept for the backward pass. Its annotations are the operator's schema.
        fake: the same function for shapes, types and layouts alone.
        gradients: function of whether the operators must be seen, the output's gradient, the five tensors, the kept
            tensors, the options and which of the five gradients are needed. It returns five gradients.
    """

    def __init__(self, name: str, forward: Callable[..., Any], fake: Callable[..., Any], gradients: Gradients) -> None:
        def differentiate(ctx: Any, grad: Tensor | None, observed: bool) -> tuple[Any, ...]:
            others = [None] * len(ctx.options)
            if grad is None:
                return *[None] * TENSORS, *others
            tensors, kept = ctx.saved_tensors[:TENSORS], ctx.saved_tensors[TENSORS:]
            needed = list(ctx.needs_input_grad[:TENSORS])
            grads = gradients(observed, grad, tensors, kept, ctx.options, needed)
            return *(g if need else None for g, need in zip(grads, needed, strict=True)), *others

        class Eager(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *arguments: Any) -> Tensor:
                output, kept = _parts(forward(*arguments))
                _save(ctx, arguments, kept)
                return output

            @staticmethod
            def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
                return differentiate(ctx, grad, torch.is_grad_enabled())  # enabled: a second derivative is asked for

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            kept = _parts(output)[1]
            _save(ctx, inputs, kept)
            ctx.mark_non_differentiable(*kept)
            ctx.set_materialize_grads(False)  # no zeros for what is kept

        self._forward, self._eager = forward, Eager
        self._operator = torch.library.custom_op(name, forward, mutates_args=())
        self._operator.register_fake(fake)
        self._operator.register_autograd(
            lambda ctx, grad, *_: differentiate(ctx, grad, True), setup_context=setup_context
        )

    def __call__(self, *arguments: Any) -> Tensor:
        """The output."""
        tensors = arguments[:TENSORS]
        if is_observed(*tensors):
            return _parts(self._operator(*arguments))[0]
        if needs_gradient(*tensors):
            output: Tensor = self._eager.apply(*arguments)
            return output
        return _parts(self._forward(*arguments))[0]


class Backward:
    """A backward pass as an operator that has no gradient of its own.

    Args:
        name: name of the operator.
        function: what it computes. Its annotations are the operator's schema.
        fake: the same function for shapes, types and layouts alone.
    """

    def __init__(self, name: str, function: Callable[..., Any], fake: Callable[..., Any]) -> None:
        self._function = function
        self._operator = torch.library.custom_op(name, function, mutates_args=())
        self._operator.register_fake(fake)
        self._operator.register_autograd(_no_second_derivative)

    def __call__(self, observed: bool, *arguments: Any) -> Any:
        """The gradients, by the operator if it must be seen."""
        return (self._operator if observed else self._function)(*arguments)


def layout(images: Tensor) -> torch.memory_format:
    """Return the memory format of images (N, C, H, W), which results computed from them also have."""
    return torch.channels_last if is_channels_last(images) else torch.contiguous_format


@contextmanager
def plain(input: Tensor) -> Iterator[None]:
    """Without autocast, on the device of the input."""
    autocast = torch.autocast(input.device.type, enabled=False) if is_autocast_enabled(input) else nullcontext()
    with torch.cuda.device_of(input), autocast:
        yield


def _parts(result: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output and what is kept."""
    return (result, ()) if isinstance(result, Tensor) else (result[0], tuple(result[1:]))


def _save(ctx: Any, arguments: tuple[Any, ...], kept: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*arguments[:TENSORS], *kept)
    ctx.options = arguments[TENSORS:]


def _no_second_derivative(ctx: Any, *grads: Any) -> None:
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got "spectral" or "direct". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )
