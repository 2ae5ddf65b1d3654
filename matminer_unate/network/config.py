"""Settings of the encoder; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Geometry = Literal["invariant", "cartesian", "distance"]


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that shapes the encoder; saved beside its weights.

    Attributes
    ----------
    cutoff : float, Å
        The one radius of the graph, the radial basis, the envelope and the moments.
    width : int
        Channels of a site or edge state (d).
    n_layers : int
        Layers of message passing; each sees one cutoff farther.
    n_rbf : int
        Radial basis functions.
    geometry : {"invariant", "cartesian", "distance"}
        How directions enter: by rotation-invariant moments, as vectors, or not at all.
    n_moments : int
        Radial channels of the neighbourhood moments (``invariant`` only).
    n_properties : int
        Element properties read beside the learned species embedding; 0 for none.
    latent_dim : int
        Length of a site embedding.
    latent_layers : tuple of int
        Site states that enter the embedding: 0 is the species embedding, l the output of layer l.
    column_states : tuple of int
        Site states that are pooled into columns.
    predicted : tuple of str
        Names of site quantities that are predicted from the embedding and pooled into columns too.
    crystal_predicted : tuple of str
        Names of quantities of the whole crystal, predicted from the mean, minimum and maximum of
        the embeddings of its sites; a column each.

    Without ``column_states`` and ``predicted`` the embedding itself is pooled.
    """

    cutoff: float = 4.5
    width: int = 64
    n_layers: int = 3
    n_rbf: int = 32
    geometry: Geometry = "invariant"
    n_moments: int = 4
    n_properties: int = 0
    latent_dim: int = 128
    latent_layers: tuple[int, ...] = (0, 1, 2, 3)
    column_states: tuple[int, ...] = (0, 1, 2, 3)
    predicted: tuple[str, ...] = ()
    crystal_predicted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "predicted", tuple(self.predicted))
        object.__setattr__(self, "crystal_predicted", tuple(self.crystal_predicted))
        for name in ("latent_layers", "column_states"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not all(0 <= i <= self.n_layers for i in getattr(self, name)):
                raise ValueError(f"{name} must name states 0 to {self.n_layers}")
        if self.geometry not in ("invariant", "cartesian", "distance"):
            raise ValueError(
                f"geometry {self.geometry!r} is none of invariant, cartesian, distance"
            )
        if not self.cutoff > 0:
            raise ValueError(f"the cutoff must be positive, got {self.cutoff} Å")
        if not self.latent_layers:
            raise ValueError("latent_layers must name at least one state")

    @property
    def n_columns(self) -> int:
        """Length of the site vector that is pooled into columns."""
        return self.width * len(self.column_states) + len(self.predicted) or self.latent_dim
