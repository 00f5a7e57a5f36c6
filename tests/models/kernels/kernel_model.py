"""A model of the least size that the kernels take, with every parameter away from its initial value."""

import torch

from models.mamba.architecture import Mamba3Config, MambaConfig
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


def build(form: str, device: str, dtype: torch.dtype = torch.float32) -> MambaLM:
    torch.manual_seed(7)
    shape = {"d_state": 64, "headdim": 32, "dt_min": 0.05, "dt_max": 0.9}
    mixer = Mamba3Config(**(shape | FORMS[form]))
    config = MambaConfig(d_model=32, d_intermediate=40, n_layer=2, vocab_size=VOCAB_SIZE, ssm_cfg=mixer)
    model = MambaLM(config).initialize()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.to(device, dtype).eval().requires_grad_(False)
