"""Losses of very different size, balanced by the gradients that they send."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pretraining.balance import GradientBalance


def losses(layer: nn.Linear) -> dict[str, Tensor]:
    """Two losses of the same layer, one with gradients a hundred times larger."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    out = layer(x)
    return {"small": out.square().mean(), "large": 100 * (out - 1).square().mean()}


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def gradient_norm(loss: Tensor, layer: nn.Linear) -> float:
    return float(torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].norm())


def test_scaled_losses_have_gradients_in_the_ratio_of_their_weights(layer: nn.Linear) -> None:
    balance = GradientBalance({"small": 3.0, "large": 1.0})
    found = losses(layer)
    balance.measure(found, layer.weight)
    scales = balance.scales()
    norms = {name: gradient_norm(scales[name] * found[name], layer) for name in found}
    assert norms["small"] / norms["large"] == pytest.approx(3.0, rel=1e-4)
    # The geometric mean of the unweighted norms stays what it was.
    before = gradient_norm(found["small"], layer) * gradient_norm(found["large"], layer)
    assert norms["small"] / 3 * norms["large"] == pytest.approx(before, rel=1e-4)


def test_before_the_first_measurement_and_when_switched_off_weights_act_as_they_stand(
    layer: nn.Linear,
) -> None:
    weights = {"small": 2.0, "large": 0.5}
    found = losses(layer)
    expected = 2 * found["small"] + 0.5 * found["large"]
    torch.testing.assert_close(GradientBalance(weights)(found), expected)
    off = GradientBalance(weights, every=0)
    torch.testing.assert_close(off(found), expected)


def test_measuring_leaves_no_gradient_behind(layer: nn.Linear) -> None:
    balance = GradientBalance({"small": 1.0, "large": 1.0})
    found = losses(layer)
    balance.measure(found, layer.weight)
    assert layer.weight.grad is None
    balance(found).backward()
    assert layer.weight.grad is not None


def test_norms_are_averaged_over_measurements_and_saved(layer: nn.Linear) -> None:
    balance = GradientBalance({"small": 1.0, "large": 1.0})
    found = losses(layer)
    balance.measure(found, layer.weight)
    first = balance.norms.clone()
    balance.measure({name: 10 * loss for name, loss in found.items()}, layer.weight, decay=0.5)
    torch.testing.assert_close(balance.norms, first * 10**0.5)  # geometric mean of 1 and 10
    other = GradientBalance({"small": 1.0, "large": 1.0})
    other.load_state_dict(balance.state_dict())
    assert other.scales() == balance.scales()


@pytest.mark.parametrize("first", [True, False])
def test_a_batch_without_a_gradient_of_a_loss_measures_nothing_of_it(
    layer: nn.Linear, first: bool
) -> None:
    expected = GradientBalance({"small": 1.0, "large": 1.0})
    balance = GradientBalance({"small": 1.0, "large": 1.0})
    found = losses(layer)
    without = found | {"small": 0.0 * layer.weight.sum()}
    expected.measure(found, layer.weight)
    for given in (without, found) if first else (found, without):
        balance.measure(given, layer.weight)
    assert balance.scales() == pytest.approx(expected.scales(), rel=1e-5)


def test_a_loss_without_gradient_does_not_blow_up(layer: nn.Linear) -> None:
    balance = GradientBalance({"small": 1.0, "large": 1.0})
    found = losses(layer) | {"small": 0.0 * layer.weight.sum()}
    balance.measure(found, layer.weight)
    assert torch.isfinite(balance(found))
