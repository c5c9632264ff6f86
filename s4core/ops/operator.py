"""An operation as a pair of pure functions, forward and backward, for every way torch may run it.

Eager code gets an autograd.Function (with a rule for torch.func and for vmap), compiled code one
opaque node: inductor cannot generate code for complex numbers, and tracing a kernel's hundreds of
small operations costs minutes for nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..shapes import Tensor
from .plain import is_forward_mode
from .precision import full_precision, without_denormals

Function = Callable[..., Any]


class Operator:
    """A differentiable function given by its forward and its backward.

    forward(*inputs) returns a tuple of tensors named by `outputs`; the first `n_results` of them
    are the result (differentiable), the others are there to be kept.
    backward(*gradients of the results, *tensors of `keep`, *inputs that are no tensors) returns a
    gradient for each tensor input.  Neither may change its inputs or return one.
    plain: the results by operations of torch's own, for forward-mode derivatives (see plain.py).
    `keep` has an input of each product of inputs, so that a second derivative, which there is not,
    is seen to be asked for.
    Compilers need shapes without values: of the outputs, which `forward_shapes` tells like forward,
    and of the gradients, which are those of the inputs where `keep` has all of them.  Without these
    two the function itself runs on fake tensors, where a loop of hundreds of operations takes
    seconds.
    """

    def __init__(
        self,
        name: str,
        inputs: str,
        outputs: str,
        *,
        keep: str,
        forward: Function,
        backward: Function,
        plain: Function | None = None,
        forward_shapes: Function | None = None,
        n_results: int = 1,
    ) -> None:
        kinds = [part.strip().rsplit(" ", 1) for part in inputs.split(",")]
        self.names = [name for _, name in kinds]
        self.is_tensor = [kind == "Tensor" for kind, _ in kinds]
        self.outputs = re.split(r",\s*", outputs)
        self.keep = re.split(r",\s*", keep)
        self._plain = plain
        self.n_results, self._forward = n_results, without_denormals(forward)
        # It may run where the caller has autocast on again.
        self._backward = without_denormals(full_precision(backward))
        self._forward_shapes = forward_shapes or forward
        self.function = _function(self)
        self._define(name, inputs, kinds)

    def __call__(self, *inputs: Any) -> Any:
        """The result, or a tuple if there are several."""
        if self._plain is not None and is_forward_mode():
            return self._plain(*inputs)
        run = self._op if torch.compiler.is_compiling() else self.function.apply
        results = run(*inputs)
        if isinstance(results, Tensor):
            return results
        return results[0] if self.n_results == 1 else tuple(results[: self.n_results])

    def kept(self, inputs: Sequence[Any], outputs: Sequence[Tensor]) -> list[Tensor]:
        """The tensors that the backward wants."""
        found = dict(zip(self.names, inputs, strict=True))
        found.update(zip(self.outputs, outputs, strict=True))
        return [found[name] for name in self.keep]

    def plain(self, inputs: Sequence[Any]) -> list[Any]:
        """The inputs that are no tensors."""
        return [x for x, tensor in zip(inputs, self.is_tensor, strict=True) if not tensor]

    def arranged(self, tensors: Sequence[Tensor], plain: Sequence[Any]) -> list[Any]:
        """The inputs in their order, from those that are tensors and those that are not."""
        first, second = iter(tensors), iter(plain)
        return [next(first) if tensor else next(second) for tensor in self.is_tensor]

    def spread(self, gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """One entry for each input, None for those that are no tensors."""
        left = iter(gradients)
        return tuple(next(left) if tensor else None for tensor in self.is_tensor)

    def _gradient_shapes(self, *given: Any) -> Sequence[Tensor]:
        """What the backward returns, for the shapes alone."""
        kept = dict(zip(self.keep, given[self.n_results :], strict=False))
        tensors = [n for n, tensor in zip(self.names, self.is_tensor, strict=True) if tensor]
        if all(name in kept for name in tensors):
            return [torch.empty_like(kept[name]) for name in tensors]
        shapes: Sequence[Tensor] = self._backward(*given)
        return shapes

    def _define(self, name: str, inputs: str, kinds: list[list[str]]) -> None:
        plain = [f"{kind} {arg}" for kind, arg in kinds if kind != "Tensor"]
        tensors = [f"Tensor grad{i}" for i in range(self.n_results)]
        tensors += [f"Tensor {arg}_" for arg in self.keep]
        self._op = _define(name, inputs, len(self.outputs), self._forward, self._forward_shapes)
        schema = ", ".join(tensors + plain)
        back = _define(
            f"{name}_backward", schema, sum(self.is_tensor), self._backward, self._gradient_shapes
        )

        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            outputs = (output,) if isinstance(output, Tensor) else output
            ctx.save_for_backward(*self.kept(inputs, outputs))
            ctx.plain = self.plain(inputs)

        def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
            given = [g.contiguous() for g in gradients[: self.n_results]]
            found = back(*given, *ctx.saved_tensors, *ctx.plain)
            return self.spread([found] if isinstance(found, Tensor) else found)

        self._op.register_autograd(backward, setup_context=setup_context)


def _define(name: str, inputs: str, count: int, function: Function, shapes: Function) -> Any:
    returns = "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"

    def answer(function: Function, args: Sequence[Any]) -> Any:
        found = tuple(x.contiguous() for x in function(*args))
        return found[0] if count == 1 else found

    def run(*args: Any) -> Any:
        with _usual_dispatch(), torch.no_grad():
            return answer(function, args)

    op = torch.library.custom_op(
        f"s4core::{name}", run, mutates_args=(), schema=f"({inputs}) -> {returns}"
    )
    op.register_fake(lambda *args: answer(shapes, args))
    return op


def _usual_dispatch() -> contextlib.AbstractContextManager[None]:
    """The dispatcher as it is in a new thread, whatever called us.

    torch 2.13 runs the first call of a compiled graph with lazy conjugation switched off, so that
    x.conj() is x: silently wrong.  It also records no gradients below a registered operation.
    """
    keys = _thread_defaults()
    guard: contextlib.AbstractContextManager[None] = torch._C._ForceDispatchKeyGuard(*keys)
    return guard


@functools.cache
def _thread_defaults() -> tuple[Any, Any]:
    found: list[Any] = []

    def look() -> None:
        found.append(torch._C._dispatch_tls_local_include_set())
        found.append(torch._C._dispatch_tls_local_exclude_set())

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return found[0], found[1]


def _function(operator: Operator) -> Any:
    """The autograd.Function of eager mode."""
    Back = _gradient_free(operator._backward)

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> tuple[Tensor, ...]:
            return tuple(operator._forward(*inputs))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_non_differentiable(*output[operator.n_results :])
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(*operator.kept(inputs, output))
            ctx.plain = operator.plain(inputs)
            ctx.shapes = [(x.shape, x.dtype) for x in output[: operator.n_results]]

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
            saved = ctx.saved_tensors
            given = [
                saved[0].new_zeros(shape, dtype=dtype) if g is None else g
                for g, (shape, dtype) in zip(gradients, ctx.shapes, strict=False)
            ]
            mapped = torch._C._are_functorch_transforms_active()
            run = Back.apply if mapped else operator._backward
            with torch.no_grad():
                found = run(*given, *saved, *ctx.plain)
            if torch.is_grad_enabled():
                found = _Last.apply(  # type: ignore[no-untyped-call]
                    len(found), *found, *given, *saved
                )
            return operator.spread(found)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
            return _one_by_one(Eager, info.batch_size, in_dims, inputs)

    # `apply` asks for the signature at every call, which takes 0.1 ms to find out.
    Eager.forward.__signature__ = inspect.signature(Eager.forward)  # type: ignore[attr-defined]
    return Eager


class _Last(torch.autograd.Function):
    """The first n of the tensors as they are, whose gradients are refused.

    torch's once_differentiable lets gradients pass as constants, silently, where the gradient that
    came in depends on nothing, as that of a sum does.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.view_as(x) for x in tensors[:n])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise RuntimeError(
            "first derivatives only in reverse mode: for second ones take torch.func.jvp of grad."
        )


def _gradient_free(function: Function) -> Any:
    """`function` with a rule for vmap, which the backward of a mapped function goes through."""

    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> tuple[Tensor, ...]:
            return tuple(function(*inputs))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.mark_non_differentiable(*output)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, Any]:
            return _one_by_one(Plain, info.batch_size, in_dims, inputs)

    return Plain


def _one_by_one(function: Any, size: int, in_dims: Any, inputs: Any) -> tuple[Any, Any]:
    results = [
        function.apply(
            *(
                x if dim is None else x.select(dim, i)
                for x, dim in zip(inputs, in_dims, strict=True)
            )
        )
        for i in range(size)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
    return stacked, (0,) * len(stacked)


def opaque(name: str, inputs: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function` as it is in eager mode, one node in compiled code.

    There its backward runs the function again, with gradients.
    """

    def backward(gradient: Tensor, *given: Any) -> Sequence[Tensor]:
        with torch.enable_grad():
            tensors = [x.detach().requires_grad_() for x in given[:n_tensors]]
            result = function(*operator.arranged(tensors, given[n_tensors:]))
            return torch.autograd.grad(
                result, tensors, gradient, allow_unused=True, materialize_grads=True
            )

    def run(*inputs: Any) -> Tensor:
        if not torch.compiler.is_compiling():
            return function(*inputs)
        result: Tensor = operator(*inputs)
        return result

    names = [p.strip().rsplit(" ", 1)[1] for p in inputs.split(",") if p.strip()[:6] == "Tensor"]
    n_tensors = len(names)
    operator = Operator(
        name, inputs, "result", keep=", ".join(names),
        forward=lambda *inputs: (function(*inputs),), backward=backward,
    )  # fmt: skip
    return run
