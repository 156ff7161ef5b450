"""AdamW and SGD, fused, with decay groups and their whole state made up front.

The one rule: state exists from the first moment, as zeros, so that a checkpoint loads by copying into what is there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from tuner.errors import ConfigError
from tuner.records import OptimizerSpec

_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


def build_optimizer(model: nn.Module, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """The fused optimizer over the trainable parameters, each once, in two groups: with and without weight decay.

    The learning rate is set before each update, so that none is given here.

    Raises:
        ConfigError: the model has nothing to train, or a parameter that is no float32.
    """
    decayed, spared = decay_groups(model)
    _require_float32(model)
    groups = [
        {"params": [parameter for _, parameter in group], "weight_decay": decay}
        for group, decay in ((decayed, spec.weight_decay), (spared, 0.0))
        if group
    ]
    optimizer: torch.optim.Optimizer
    if spec.name == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(spec.beta1, spec.beta2), eps=spec.epsilon, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=spec.momentum, fused=True)
    _make_state(optimizer, spec)
    return optimizer


def decay_groups(model: nn.Module) -> tuple[list[tuple[str, nn.Parameter]], list[tuple[str, nn.Parameter]]]:
    """Named trainable parameters with weight decay, and without: biases, norms and 1-d parameters."""
    decayed: list[tuple[str, nn.Parameter]] = []
    spared: list[tuple[str, nn.Parameter]] = []
    for module, name, parameter in _owned_parameters(model):
        leaf = name.rpartition(".")[2]
        is_spared = parameter.ndim <= 1 or _is_norm(module) or leaf == "bias" or leaf.endswith("_bias")
        (spared if is_spared else decayed).append((name, parameter))
    return decayed, spared


def trainable_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Trainable parameters by name, tied ones once, under their first name."""
    return ((name, parameter) for _, name, parameter in _owned_parameters(model))


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state as `<parameter>.<state>`: the live tensors, not copies."""
    return {
        f"{name}.{key}": value
        for _, name, parameter in _owned_parameters(model)
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, torch.Tensor)
    }


def _owned_parameters(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Trainable parameters with the module that owns them, tied ones once."""
    seen: set[int] = set()
    for prefix, module in model.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield module, f"{prefix}.{leaf}" if prefix else leaf, parameter


def _is_norm(module: nn.Module) -> bool:
    # Libraries bring norm classes of their own (LlamaRMSNorm, T5LayerNorm, ...) that inherit from nn.Module alone.
    return isinstance(module, _NORMS) or type(module).__name__.lower().endswith("norm")


def _require_float32(model: nn.Module) -> None:
    parameters = list(_owned_parameters(model))
    if not parameters:
        raise ConfigError(
            f"build_model() returned a {type(model).__name__} without trainable parameters; leave some unfrozen"
        )
    for _, name, parameter in parameters:
        if parameter.dtype != torch.float32:
            raise ConfigError(
                f"build_model(): parameter {name} is {parameter.dtype}; trainable parameters are float32, "
                "training.precision chooses what the forward pass runs in"
            )


def _make_state(optimizer: torch.optim.Optimizer, spec: OptimizerSpec) -> None:
    """Zeros, which both optimizers' first update continues exactly as it would its own fresh state."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if spec.name == "adamw":
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            elif spec.momentum:
                state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
