"""mamba-ssm's own operator gives what the plain path gives, from states that are not empty; or says what it needs."""

import subprocess
import sys
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

import pytest
import torch

from configs.errors import ModelError
from models.kernels import official
from models.mamba.packing import Packing
from models.state import State
from tests.models.kernels.kernel_model import build

LENGTHS = [70, 1, 64]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.skipif(find_spec("mamba_ssm") is None, reason="mamba-ssm is not installed")
@torch.inference_mode()
def test_the_official_operator_continues_a_ragged_pack():
    mixer = build("siso", "cuda").backbone.layers[0].mixer
    shapes = mixer.config.state_shapes(32)
    state = State({name: torch.randn((len(LENGTHS), *shape), device="cuda") for name, shape in shapes.items()})
    state["angle"].remainder_(2 * torch.pi)
    bounds, u = [0, *accumulate(LENGTHS)], torch.randn(sum(LENGTHS), 32, device="cuda")
    expected, after = mixer.prefill(u, state, Packing.of(bounds, 16, u.device))
    cu_seqlens = torch.tensor(bounds, dtype=torch.int32, device="cuda")
    y, actual = official.scan(mixer, mixer.in_proj(u).bfloat16(), state, cu_seqlens)
    error = (mixer.out_proj(y.float()) - expected).norm() / expected.norm()
    assert error < 0.03
    assert actual["angle"].dtype == torch.float32
    assert (actual["ssm"] - after["ssm"]).norm() / after["ssm"].norm() < 0.03


@pytest.mark.skipif(find_spec("mamba_ssm") is not None, reason="mamba-ssm is installed")
def test_without_mamba_ssm_the_error_names_the_version():
    with pytest.raises(ModelError, match=r"mamba-ssm is not installed: this needs mamba-ssm of 2\.3\.2"):
        official.operators()


def test_an_old_mamba_ssm_is_named_and_its_init_is_not_run(tmp_path: Path):
    """Its `__init__` imports extensions that only a CUDA build has."""
    package = tmp_path / "mamba_ssm"
    (package / "ops").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('selective_scan_cuda')")
    (package / "ops/__init__.py").write_text("")
    asks = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from configs.errors import ModelError\nfrom models.kernels import official\n"
        "try:\n    official.operators()\nexcept ModelError as error:\n    print(error, 'mamba_ssm' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert "has no Mamba-3 operators (No module named 'mamba_ssm.ops.triton')" in run.stdout, run.stderr
    assert run.stdout.rstrip().endswith("False")
