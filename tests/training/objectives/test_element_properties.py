"""Element properties are asked for where the species is hidden."""

from __future__ import annotations

from dataclasses import replace

import torch
from encoded_batches import sites, view_of
from torch import nn

from objectives.element_properties import ElementPropertyReconstruction


def test_element_properties_are_compared_at_the_selected_sites_only() -> None:
    torch.manual_seed(0)
    table = torch.randn(119, 4)
    head, latent = ElementPropertyReconstruction(6, table), torch.randn(5, 6)
    batch = sites([3, 14, 14, 20, 92])
    selected = torch.tensor([True, False, True, False, True])
    found = head.decoder(latent)[selected]
    expected = nn.functional.mse_loss(found, table[[3, 14, 92]])
    torch.testing.assert_close(head(view_of(batch, latent, selected, batch.z), batch)[0], expected)
    changed = replace(batch, z=torch.where(selected, batch.z, 1))
    torch.testing.assert_close(
        head(view_of(batch, latent, selected, batch.z), changed)[0], expected
    )
