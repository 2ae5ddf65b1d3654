"""Weights folder ↔ encoder.

A weights folder holds ``model.safetensors`` (the tensors), ``config.json`` (everything needed to
build the network and to trust it: format version, encoder settings, sha256 of the tensors, sites
seen of each element, training settings) and ``README.md`` (the model card). No pickle anywhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError, WeightsError

if TYPE_CHECKING:
    from matminer_unate.network.config import EncoderConfig
    from matminer_unate.network.encoder import SiteEncoder


FORMAT_VERSION = 1
"""Raised by one whenever older readers could misread a folder."""

DEFAULT_WEIGHTS = "mp_v2"

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class WeightsConfig:
    """The contents of ``config.json``.

    Attributes
    ----------
    format_version : int
    name : str
        Begins every column name; letters, digits, ``_``, ``-`` and ``.``.
    encoder : dict
        Fields of :class:`~matminer_unate.network.config.EncoderConfig`.
    sha256 : str
        Of ``model.safetensors``.
    element_counts : dict of str to int
        Sites of each element (by atomic number) in pretraining; others are unknown to the weights.
    training : dict
        Settings and provenance of the run, for the record.
    """

    format_version: int
    name: str
    encoder: dict[str, Any]
    sha256: str
    element_counts: dict[str, int]
    training: dict[str, Any]

    @cached_property
    def encoder_config(self) -> EncoderConfig:
        """The encoder settings, checked; imports torch."""
        from matminer_unate.network.config import EncoderConfig

        return EncoderConfig(**self.encoder)

    @property
    def latent_dim(self) -> int:
        return int(self.encoder["latent_dim"])

    @property
    def cutoff(self) -> float:
        """Å."""
        return float(self.encoder["cutoff"])

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
        width = int(self.encoder["width"])
        labels = [f"l{s}_{k:03d}" for s in self.encoder["column_states"] for k in range(width)]
        labels += self.encoder.get("predicted", [])
        return labels or [f"z_{k:03d}" for k in range(self.latent_dim)]

    @property
    def crystal_labels(self) -> list[str]:
        """Names of the quantities of whole crystals, a column each."""
        return list(self.encoder.get("crystal_predicted", []))

    @cached_property
    def known_elements(self) -> frozenset[int]:
        return frozenset(int(z) for z, count in self.element_counts.items() if count > 0)


def shipped_weights() -> list[str]:
    """Names of the weights inside the package."""
    root = files("matminer_unate") / "weights"
    return sorted(entry.name for entry in root.iterdir() if (entry / CONFIG).is_file())


def weights_folder(weights: str | Path) -> Path:
    """Find a weights folder by shipped name or by path.

    Raises
    ------
    WeightsError
        Nothing of that name is shipped and no such folder exists.
    """
    if not isinstance(weights, str | Path):
        raise WeightsError(f"weights must be a name or a path, got {weights!r}")
    shipped = Path(str(files("matminer_unate") / "weights" / str(weights)))
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
        The folder or file is missing, is not JSON, is of another format version, or has unknown,
        missing or malformed entries.
    """
    path = weights_folder(weights) / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} has no {CONFIG}; is it a weights folder?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise WeightsError(f"{path} is not readable JSON ({e}); export the weights again") from e
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no JSON object; export the weights again")
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path} is of weights format {version!r}, this version of matminer_unate reads "
            f"{FORMAT_VERSION}; install the version that wrote it, or export again"
        )
    expected = {f.name for f in fields(WeightsConfig)}
    if set(content) != expected:
        unknown, missing = sorted(set(content) - expected), sorted(expected - set(content))
        raise WeightsError(f"{path}: unknown entries {unknown}, missing entries {missing}")
    config = WeightsConfig(**content)
    if not isinstance(config.name, str) or not NAME_PATTERN.fullmatch(config.name):
        raise WeightsError(
            f"{path}: name {config.name!r} may hold letters, digits, _, - and . only"
        )
    try:
        _ = config.latent_dim, config.cutoff, config.is_known, config.site_labels
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as e:
        raise WeightsError(f"{path}: malformed encoder or element_counts entry ({e!r})") from e
    return config


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

    config = read_config(weights)
    path = weights_folder(weights) / MODEL
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise WeightsError(f"{path.parent} has no {MODEL}; copy the whole weights folder") from None
    found = hashlib.sha256(content).hexdigest()
    if found != config.sha256:
        raise WeightsError(
            f"{path} is truncated or changed: its sha256 is {found[:12]}…, {CONFIG} says "
            f"{config.sha256[:12]}…; copy the weights folder again"
        )
    try:
        with WithoutDrawing():
            encoder = SiteEncoder(config.encoder_config)
    except (TypeError, ValueError) as e:
        raise WeightsError(f"{path.parent / CONFIG}: encoder settings: {e}") from e
    try:
        encoder.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as e:
        raise WeightsError(f"{path} does not fit the encoder settings in {CONFIG}: {e}") from e
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

    if not NAME_PATTERN.fullmatch(name):
        raise WeightsError(f"name {name!r} may hold letters, digits, _, - and . only")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    content = save({k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()})
    config = WeightsConfig(
        format_version=FORMAT_VERSION,
        name=name,
        encoder=asdict(encoder.config),
        sha256=hashlib.sha256(content).hexdigest(),
        element_counts={str(z): int(n) for z, n in sorted(element_counts.items())},
        training=training,
    )
    (folder / MODEL).write_bytes(content)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card.replace("{sha256}", config.sha256), encoding="utf-8")
    return config


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
