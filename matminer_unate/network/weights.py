"""Weights folder ↔ encoder.

A weights folder holds ``model.safetensors`` (the tensors), ``config.json`` (what is needed to build
the network and to trust it: encoder settings, sha256 of the tensors, sites seen of each element,
training settings) and ``README.md`` (the model card).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError, WeightsError
from matminer_unate.network.config import EncoderConfig
from matminer_unate.network.model_folder import CONFIG, MODEL, FolderConfig, Upgrade

if TYPE_CHECKING:
    from matminer_unate.network.encoder import SiteEncoder


DEFAULT_WEIGHTS = "mp_v3"

CARD = "README.md"

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _with_kind_and_files(old: dict[str, Any]) -> dict[str, Any]:
    """Version 1, whose only file was the tensors, → version 2."""
    files = {MODEL: old["sha256"]}
    return {"files": files, **{k: v for k, v in old.items() if k != "sha256"}}


@dataclass(frozen=True, kw_only=True)
class WeightsConfig(FolderConfig):
    """``config.json`` of a weights folder.

    Attributes
    ----------
    name : str
        Begins every column name; letters, digits, ``_``, ``-`` and ``.``.
    encoder : EncoderConfig
    element_counts : dict of str to int
        Sites of each element (by atomic number) in pretraining; others are unknown to the weights.
    training : dict
        Settings and provenance of the run, for the record.
    """

    KIND: ClassVar[str] = "weights"
    NOUN: ClassVar[str] = "weights folder"
    VERSION: ClassVar[int] = 2
    UPGRADES: ClassVar[dict[int, Upgrade]] = {1: _with_kind_and_files}

    name: str
    encoder: EncoderConfig
    element_counts: dict[str, int]
    training: dict[str, Any]

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise WeightsError(f"name {self.name!r} may hold letters, digits, _, - and . only")
        if not all(z.isdecimal() and 1 <= int(z) <= 118 for z in self.element_counts):
            raise WeightsError("element_counts must name elements by numbers from 1 to 118")

    @property
    def sha256(self) -> str:
        """Of the tensors: the identity of the weights."""
        return self.files[MODEL]

    @property
    def latent_dim(self) -> int:
        return self.encoder.latent_dim

    @property
    def cutoff(self) -> float:
        """Å."""
        return self.encoder.cutoff

    @cached_property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each atomic number, 0 to 118, was seen in pretraining."""
        mask = np.zeros(119, dtype=bool)
        mask[sorted(self.known_elements)] = True
        return mask

    @property
    def site_labels(self) -> list[str]:
        """Names of the components of the site vector that is pooled into columns.

        ``l2_017`` is channel 17 of the state after layer 2; predicted quantities go by their names;
        ``z_017`` is component 17 of the site embedding.
        """
        channels = range(self.encoder.width)
        labels = [f"l{s}_{k:03d}" for s in self.encoder.column_states for k in channels]
        labels += self.encoder.predicted
        return labels or [f"z_{k:03d}" for k in range(self.latent_dim)]

    @property
    def crystal_labels(self) -> list[str]:
        """Names of the quantities of whole crystals, a column each."""
        return list(self.encoder.crystal_predicted)

    @cached_property
    def known_elements(self) -> frozenset[int]:
        return frozenset(int(z) for z, count in self.element_counts.items() if count > 0)


def shipped_weights() -> list[str]:
    """Names of the weights inside the package."""
    return sorted(entry.name for entry in _shipped().iterdir() if (entry / CONFIG).is_file())


@cache
def _shipped() -> Path:
    return Path(str(files("matminer_unate") / "weights"))


def weights_folder(weights: str | Path) -> Path:
    """Find a weights folder by shipped name or by path.

    Raises
    ------
    WeightsError
        Nothing of that name is shipped and no such folder exists.
    """
    if not isinstance(weights, str | Path):
        raise WeightsError(f"weights must be a name or a path, got {weights!r}")
    shipped = _shipped() / str(weights)
    if NAME_PATTERN.fullmatch(str(weights)) and (shipped / CONFIG).is_file():
        return shipped
    folder = Path(weights).expanduser()
    if not folder.is_dir():
        raise WeightsError(
            f"no weights {str(weights)!r}: neither shipped ({', '.join(shipped_weights())}) nor a "
            f"folder with {MODEL} and {CONFIG}"
        )
    return folder


def read_config(weights: str | Path) -> WeightsConfig:
    """Read and check ``config.json`` of a weights folder, without loading the network.

    Raises
    ------
    WeightsError
        As :meth:`FolderConfig.read`, or there are no such weights.
    """
    return WeightsConfig.read(weights_folder(weights))


def load_encoder(weights: str | Path) -> tuple[SiteEncoder, WeightsConfig]:
    """Build the encoder of a weights folder in evaluation mode, on the CPU.

    Returns
    -------
    encoder : SiteEncoder
    config : WeightsConfig

    Raises
    ------
    WeightsError
        As :func:`read_config`, or the tensors are missing, damaged, or do not fit the settings.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    from matminer_unate.network.encoder import SiteEncoder
    from matminer_unate.network.initialisation import WithoutDrawing

    folder = weights_folder(weights)
    config = WeightsConfig.read(folder)
    content = config.read_files(folder)[MODEL]
    with WithoutDrawing():
        encoder = SiteEncoder(config.encoder)
    try:
        encoder.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as e:
        raise WeightsError(
            f"{folder / MODEL} does not fit the encoder settings in {CONFIG}: {e}"
        ) from e
    return encoder.eval(), config


def save_encoder(
    folder: str | Path,
    name: str,
    encoder: SiteEncoder,
    element_counts: dict[int, int],
    training: dict[str, Any],
    card: str,
) -> WeightsConfig:
    """Write an encoder as a weights folder.

    Parameters
    ----------
    folder : path
        Created if need be; files in it are replaced.
    name : str
        Begins every column name.
    encoder : SiteEncoder
    element_counts : dict of int to int
        Sites of each element seen in pretraining.
    training : dict
        Anything JSON holds, for the record.
    card : str
        Markdown of the model card; ``{sha256}`` in it is filled in.

    Raises
    ------
    WeightsError
        The name has characters that column names cannot have.
    """
    from safetensors.torch import save

    config = WeightsConfig(
        name=name,
        encoder=encoder.config,
        element_counts={str(z): int(n) for z, n in sorted(element_counts.items())},
        training=training,
    )
    content = save({k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()})
    digest = hashlib.sha256(content).hexdigest()
    return config.write(Path(folder), {MODEL: content}, {CARD: card.replace("{sha256}", digest)})


def weights_config(weights: str | Path) -> WeightsConfig:
    """``config.json`` of the weights, read again only when the file changes."""
    folder = weights_folder(weights)
    path = folder / CONFIG
    return _read_config(folder, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=8)
def _read_config(folder: Path, _changed: int) -> WeightsConfig:
    return read_config(folder)


def check_weights(weights: Any) -> tuple[str | Path, ...]:
    """One or several weights → a tuple of them.

    Raises
    ------
    InputError
        There are none, or two of them have the same name, so that columns would too.
    WeightsError
        There are no such weights.
    """
    is_several = isinstance(weights, Iterable) and not isinstance(weights, str | Path)
    several = tuple(weights) if is_several else (weights,)
    names = [weights_config(w).name for w in several]
    if not names or len(set(names)) < len(names):
        found = ", ".join(names) or "none"
        raise InputError(f"weights need different names, and there must be some; got {found}")
    return several


def checksums(weights: Sequence[str | Path]) -> list[str]:
    """SHA-256 of each of several weights."""
    return [weights_config(w).sha256 for w in weights]
