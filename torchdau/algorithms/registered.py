"""A layer's computation as a registered operator of PyTorch, which eager calls bypass."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from torchdau.arguments import is_autocast_enabled, is_channels_last, is_observed, needs_gradient

TENSORS = 5
"""Number of tensors among an operator's arguments, which come first: input, weight, displacement, sigma and bias."""

Gradients = Callable[[bool, Tensor, Sequence[Tensor], Sequence[Tensor], tuple[Any, ...], list[bool]], Sequence[Any]]


class Operator:
    """A forward pass that compilers, exports, dispatch modes and tensor subclasses see as one operator.

    Calling a registered operator takes as long as computing a small layer. Eager calls therefore run the same functions
    without it.

    Args:
        name: name of the operator.
        forward: function of the five tensors and options. It returns the output, or a tuple of the output and tensors
            to keep for the backward pass. Its annotations are the operator's schema.
        fake: the same function for shapes, types and layouts alone.
        gradients: function that returns the five gradients. It takes whether operators must be visible, the output's
            gradient, the five tensors, the kept tensors, the options and the needed gradients.
    """

    def __init__(self, name: str, forward: Callable[..., Any], fake: Callable[..., Any], gradients: Gradients) -> None:
        def differentiate(ctx: Any, grad: Tensor | None, observed: bool) -> tuple[Any, ...]:
            others = [None] * len(ctx.options)
            if grad is None:
                return *[None] * TENSORS, *others
            saved = ctx.saved_tensors  # read once: each time, hooks unpack it, and checkpointing forbids a second time
            tensors, kept = saved[:TENSORS], saved[TENSORS:]
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
                return differentiate(ctx, grad, torch.is_grad_enabled())  # enabled for second derivatives

        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            kept = _parts(output)[1]
            _save(ctx, inputs, kept)
            ctx.mark_non_differentiable(*kept)
            ctx.set_materialize_grads(False)  # no zeros for kept tensors

        self._forward, self._eager = forward, Eager
        self._operator = torch.library.custom_op(name, forward, mutates_args=())
        self._operator.register_fake(fake)
        self._operator.register_autograd(
            lambda ctx, grad, *_: differentiate(ctx, grad, True), setup_context=setup_context
        )

    def __call__(self, *arguments: Any) -> Tensor:
        """Return the output."""
        tensors = arguments[:TENSORS]
        if is_observed(*tensors):
            return _parts(self._operator(*arguments))[0]
        if needs_gradient(*tensors):
            output: Tensor = self._eager.apply(*arguments)
            return output
        return _parts(self._forward(*arguments))[0]


class Backward:
    """A backward pass as an operator without a gradient of its own.

    Args:
        name: name of the operator.
        function: computation of the gradients. Its annotations are the operator's schema.
        fake: the same function for shapes, types and layouts alone.
    """

    def __init__(self, name: str, function: Callable[..., Any], fake: Callable[..., Any]) -> None:
        self._function = function
        self._operator = torch.library.custom_op(name, function, mutates_args=())
        self._operator.register_fake(fake)
        self._operator.register_autograd(_no_second_derivative)

    def __call__(self, observed: bool, *arguments: Any) -> Any:
        """Return the gradients, through the operator if it is ``observed``."""
        return (self._operator if observed else self._function)(*arguments)


def layout(images: Tensor) -> torch.memory_format:
    """Return the memory format of images (N, C, H, W), which results computed from them also have."""
    return torch.channels_last if is_channels_last(images) else torch.contiguous_format


@contextmanager
def plain(input: Tensor) -> Iterator[None]:
    """Disable autocast, on the device of the input."""
    autocast = torch.autocast(input.device.type, enabled=False) if is_autocast_enabled(input) else nullcontext()
    with torch.cuda.device_of(input), autocast:
        yield


def _parts(result: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output and the kept tensors."""
    return (result, ()) if isinstance(result, Tensor) else (result[0], tuple(result[1:]))


def _save(ctx: Any, arguments: tuple[Any, ...], kept: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*arguments[:TENSORS], *kept)
    ctx.options = arguments[TENSORS:]


def _no_second_derivative(ctx: Any, *grads: Any) -> None:
    raise NotImplementedError(
        'algorithm must be "dense" or "reference" for the gradient of a gradient, got "spectral" or "direct". '
        'Pass algorithm="dense" to the layer or function that is differentiated twice.'
    )
