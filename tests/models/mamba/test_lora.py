"""LoRA learns beside the weights, and is merged into them without a trace."""

import json

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file

from configs.errors import ConfigError
from configs.training import LoraSettings
from models.mamba import lora
from models.mamba.language_model import MambaLM
from models.mamba.trainer import Recipe, Stream, Trainer
from tests.models.mamba.test_trainer import documents
from tests.small_model import build

TOKENS = torch.arange(20)


def logits(model: MambaLM) -> torch.Tensor:
    return model.prefill(TOKENS, [0, 20], model.empty_state(1), TOKENS)[0].detach()


@pytest.mark.parametrize("mixer", [{}, {"is_mimo": True, "mimo_rank": 2}], ids=["siso", "mimo"])
def test_it_changes_nothing_at_first_then_learns_and_merges_into_the_weights(mixer, tmp_path):
    model = build(torch.float32, **mixer).train()
    before, weights = logits(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    lora.attach(model, LoraSettings(rank=4))
    assert torch.equal(logits(model), before)

    trainer = Trainer(model, [Stream(documents([50, 31], num_tokens=4), 32)], Recipe(3e-2))
    assert all(".lora_" in name for name in trainer.parameters)
    losses = [trainer.step(1.0).text_loss for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]

    # In fp64, where nothing but the order of two products can differ: what was learned makes fp32's rounding large.
    merged = lora.merged(model.double())
    assert merged.keys() == weights.keys()
    changed = {
        name.rpartition(".")[0].rpartition(".")[2]
        for name in merged
        if not torch.equal(merged[name], weights[name].double())
    }
    assert changed == {"in_proj", "out_proj", "fc1", "fc2"}
    plain = MambaLM(model.config).double()
    plain.load_state_dict(merged)
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-8, atol=1e-8)


def test_an_adapter_is_as_peft_stores_it(tmp_path):
    model = build(torch.float32)
    lora.attach(model, LoraSettings(rank=2, targets=("in_proj",)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_()
    lora.save_adapter(model, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"] == ["in_proj"]
    other = build(torch.float32)
    inject_adapter_in_model(LoraConfig.from_pretrained(str(tmp_path)), other.backbone)
    set_peft_model_state_dict(other.backbone, load_file(tmp_path / lora.WEIGHTS))
    assert torch.equal(logits(other), logits(model))


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"lora.targets names 'q_proj'; .*\['fc1', 'fc2', 'in_proj', 'out_proj'\]"):
        lora.attach(build(torch.float32), LoraSettings(targets=("q_proj",)))
