"""When a fast path may stand in for a module: where calling it would run its own code alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

_FORMULAS_ONLY: ContextVar[bool] = ContextVar("formulas_only", default=False)


@contextmanager
def formulas_only() -> Iterator[None]:
    """Run models by their formulas alone inside this block: to compare, and to look for errors."""
    token = _FORMULAS_ONLY.set(True)
    try:
        yield
    finally:
        _FORMULAS_ONLY.reset(token)


def only_formulas() -> bool:
    """Whether this call runs inside a `formulas_only` block."""
    return _FORMULAS_ONLY.get()


# -- who looks at this call ------------------------------------------------------------------------


def are_traced(*tensors: Tensor) -> bool:
    """Whether something looks at this call that must see plain operations.

    Compilers, exporters, function transforms, forward-mode derivatives, and modes that count or
    fake operations do.
    """
    if torch.compiler.is_compiling():  # first: the compiler then leaves the rest out
        return True
    return (
        torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._ops._len_torch_dispatch_stack_pre_dispatch() > 0
        or _are_transformed()
        or any(type(tensor) not in (Tensor, nn.Parameter) or tensor.is_meta for tensor in tensors)
    )


def _are_transformed() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


# -- unmodified modules ----------------------------------------------------------------------------

Code = dict[type[nn.Module], dict[str, Any]]


def code_of(*classes: type[nn.Module]) -> Code:
    """Remember the methods of these classes as they are now, so that a later patch is seen."""
    return {each: _methods(each) for each in classes}


def _methods(of: type[nn.Module]) -> dict[str, Any]:
    """`forward`, and every other method that the class defines itself."""
    own = {name: each for name, each in vars(of).items() if isinstance(each, FunctionType)}
    return own | {"forward": of.forward}


def are_unmodified(modules: Iterable[nn.Module], code: Code) -> bool:
    """Whether calling each of `modules` would run the remembered code of its class alone.

    So it has no hooks, adapters or parametrizations, and nothing in the place of its `forward`.
    Never inside `formulas_only`, nor under function transforms and forward-mode derivatives, for
    which fused operations lack rules.

    Args:
        modules: Any.
        code: The classes that count, from `code_of`.
    """
    compiling = torch.compiler.is_compiling()
    if not compiling and (only_formulas() or _are_transformed()):
        return False
    return not _has_global_hooks() and all(
        type(module) in code
        and (compiling or code[type(module)]["forward"] is type(module).forward)
        and "forward" not in module.__dict__
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and not module._backward_hooks
        and not module._backward_pre_hooks
        and module._compiled_call_impl is None
        for module in modules
    )


def have_their_methods(modules: Iterable[nn.Module], code: Code) -> bool:
    """Whether nothing is in the place of any other method of `modules` either.

    Args:
        modules: Of the classes in `code`.
        code: From `code_of`.
    """
    if torch.compiler.is_compiling():
        return True
    return all(
        getattr(each, name, None) is method
        for each, methods in code.items()
        for name, method in methods.items()
    ) and all(code[type(module)].keys().isdisjoint(module.__dict__) for module in modules)


def _has_global_hooks() -> bool:
    return bool(
        nn_module._global_forward_hooks
        or nn_module._global_forward_pre_hooks
        or nn_module._global_backward_hooks
        or nn_module._global_backward_pre_hooks
    )


# -- tensors ---------------------------------------------------------------------------------------


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether what is computed from these tensors now is to have derivatives."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def is_on_cpu(tensor: Tensor) -> bool:
    """Whether it is a dense tensor on a CPU."""
    return tensor.device.type == "cpu" and tensor.layout == torch.strided
