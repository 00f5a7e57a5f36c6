"""A token's experts are its own, whatever else is in the pack."""

import pytest
import torch

from models.hybrid.architecture import ExpertsShape, MLPShape
from models.hybrid.experts import Experts

GATED = MLPShape(d_hidden=6)
PLAIN = MLPShape(d_hidden=6, is_gated=False, activation="relu2")
SHAPES = {
    "softmax": ExpertsShape(num_experts=8, top_k=3, expert=GATED, shared=GATED, router="softmax"),
    "sigmoid": ExpertsShape(
        num_experts=8, top_k=3, expert=PLAIN, shared=PLAIN, router="sigmoid", num_groups=4, top_groups=2
    ),
}


@pytest.fixture(params=sorted(SHAPES))
def experts(request):
    torch.manual_seed(0)
    mixture = Experts(12, SHAPES[request.param]).double().requires_grad_(False)
    for parameter in mixture.parameters():
        parameter.normal_()
    return mixture


def test_a_token_beside_others_is_as_alone(experts):
    u = torch.randn(40, 12, dtype=torch.float64)
    together = experts(u)
    alone = torch.cat([experts(row[None]) for row in u])
    assert torch.allclose(together, alone, rtol=1e-12)


def test_the_result_is_the_weighed_sum_of_the_chosen(experts):
    u = torch.randn(1, 12, dtype=torch.float64)
    weights, chosen = experts.router(u)
    expected = experts.shared(u)
    for weight, expert in zip(weights[0], chosen[0], strict=True):
        hidden = u @ experts.up_proj.weight[expert].T
        hidden = (
            hidden[:, :6].sigmoid() * hidden[:, :6] * hidden[:, 6:] if hidden.shape[1] == 12 else hidden.relu() ** 2
        )
        expected = expected + weight * (hidden @ experts.down_proj.weight[expert].T)
    assert torch.allclose(experts(u), expected, rtol=1e-12)


def test_groups_limit_the_choice():
    torch.manual_seed(0)
    router = Experts(12, SHAPES["sigmoid"]).router
    torch.nn.init.normal_(router.weight)
    torch.nn.init.zeros_(router.correction)
    chosen = router(torch.randn(200, 12)).experts
    groups = [len(set((row // 2).tolist())) for row in chosen]
    assert set(groups) == {2}


def test_a_correction_changes_the_choice_and_not_the_weights():
    torch.manual_seed(0)
    shape = SHAPES["sigmoid"].model_copy(update={"num_groups": 1, "is_normalized": False})
    router = Experts(12, shape).router
    torch.nn.init.normal_(router.weight)
    torch.nn.init.zeros_(router.correction)
    router.correction.data[5] = 10.0
    u = torch.randn(50, 12)
    weights, chosen = router(u)
    assert (chosen == 5).any(-1).all()
    assert torch.allclose(weights, torch.sigmoid(u @ router.weight.T).gather(1, chosen))
