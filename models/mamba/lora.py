"""LoRA: trains a product of two thin matrices beside each chosen weight, and leaves the weight itself alone.

Source: LoRA, arXiv 2106.09685. The layers are those of PEFT, put into our own modules, and an adapter is stored as PEFT
stores it, named from the backbone down.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from configs.errors import ConfigError
from configs.training import LoraSettings
from models.mamba.language_model import MambaLM

WEIGHTS = "adapter_model.safetensors"
"""PEFT's name for an adapter's tensors."""
NAME = "default"
"""PEFT's for an adapter where there is one."""


def attach(model: MambaLM, settings: LoraSettings) -> None:
    """Freeze the model and put trainable layers beside its linear ones; at first they change nothing.

    Raises ConfigError where PEFT is not installed, or the model has no layer of such a name.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("lora needs the package peft: pip install 'longhaul[finetune]', or leave lora out") from error
    names = {
        name.rpartition(".")[2] for name, module in model.backbone.named_modules() if isinstance(module, nn.Linear)
    }
    if missing := sorted(set(settings.targets) - names):
        raise ConfigError(f"lora.targets names {missing[0]!r}; the linear layers of this model are {sorted(names)}")
    model.requires_grad_(False)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number does
        lora_dropout=settings.dropout,
        target_modules=sorted(settings.targets or names),
    )
    # Not into the model, whose `config` PEFT would take for one of transformers'.
    inject_adapter_in_model(config, model.backbone)


@torch.no_grad()
def merged(model: MambaLM) -> dict[str, Tensor]:
    """The weights by their published names, with what was learned beside them added in fp32."""
    tensors = {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = f"{name}.weight"
            tensors[weight] = tensors[weight] + module.get_delta_weight(NAME)
    return tensors


def save_adapter(model: MambaLM, directory: Path) -> None:
    """Write what was learned, and how it is applied."""
    from peft import LoraConfig, get_peft_model_state_dict

    config: Any = model.backbone.peft_config
    assert isinstance(config[NAME], LoraConfig)
    config[NAME].save_pretrained(directory)
    tensors = get_peft_model_state_dict(model.backbone, adapter_name=NAME)
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, directory / WEIGHTS)
