"""A model of the least size that the kernels take, with every parameter away from its initial value."""

import torch

from models.mamba.architecture import Mamba1Config, Mamba2Config, Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM

VOCAB_SIZE = 61
FORMS = {
    "siso": {},
    "mimo": {"is_mimo": True, "chunk_size": 16},
    "rank_2_two_groups_norm_softplus": {
        "is_mimo": True,
        "mimo_rank": 2,
        "ngroups": 2,
        "is_outproj_norm": True,
        "a_activation": "softplus",
    },
}

MAMBA2_FORMS = {
    "mamba2": {},
    "mamba2_groups_biases_two_taps": {"ngroups": 2, "bias": True, "conv_bias": False, "d_conv": 2},
    "mamba2_held_step_sizes": {"dt_limit": (0.1, 0.3), "d_state": 16},
}
MAMBA1_FORMS = {
    "mamba1": {},
    "falcon_biases_two_taps": {"mixer_rms_eps": 1e-3, "bias": True, "conv_bias": False, "d_conv": 2, "d_state": 5},
}


def build(form: str, device: str, dtype: torch.dtype = torch.float32, d_model: int = 32) -> MambaLM:
    torch.manual_seed(7)
    shape = {"d_state": 64, "headdim": 32, "dt_min": 0.05, "dt_max": 0.9}
    mixer: Mamba1Config | Mamba2Config | Mamba3Config
    if form in MAMBA1_FORMS:
        mixer = Mamba1Config(**({"dt_min": 0.05, "dt_max": 0.9} | MAMBA1_FORMS[form]))
    elif form in MAMBA2_FORMS:
        mixer = Mamba2Config(**(shape | MAMBA2_FORMS[form]))
    else:
        mixer = Mamba3Config(**(shape | FORMS[form]))
    config = MambaConfig(
        d_model=d_model,
        d_intermediate=0 if form in ("mamba1", "mamba2") else 40,
        n_layer=2,
        vocab_size=VOCAB_SIZE,
        ssm_cfg=mixer,
    )
    model = MambaLM(config).initialize()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            little = name.endswith("A_log")
            parameter.add_((0.1 if little else 0.3) * torch.randn_like(parameter))
    return model.to(device, dtype).eval().requires_grad_(False)
