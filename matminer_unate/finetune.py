"""Fine-tune the pretrained encoder on your own property: structures and numbers in, a model out."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from matminer_unate.checkpoint import (
    CONFIG,
    DEFAULT_WEIGHTS,
    MODEL,
    WeightsConfig,
    load_encoder,
    read_config,
)
from matminer_unate.columns import EncodingNotes
from matminer_unate.encoding import prepare, resolve_device
from matminer_unate.entries import entries_of
from matminer_unate.errors import InputError, StructureError, UnateWarning, WeightsError
from matminer_unate.graph import RadiusGraph
from matminer_unate.targets import check_targets, target_floor

if TYPE_CHECKING:
    from matminer_unate.crystal_regressor import EncoderRegressor

FORMAT_VERSION = 1
"""Raised by one whenever older readers could misread a saved model."""

KIND = "UnateFineTuneRegressor"


class UnateFineTuneRegressor(RegressorMixin, BaseEstimator):
    """A regressor for crystal structures: the pretrained encoder, trained on to your property.

    All weights of the encoder learn on, with a lower learning rate than the new head, which reads
    everything that the columns of :class:`~matminer_unate.UnateFeaturizer` are made of. A part of
    the training rows, of formulas of its own, chooses the epoch. With 2,000 crystals of 10 sites
    this takes about two minutes for each member on one core.

    Parameters
    ----------
    weights : str or path
        Name of weights that come with the package, or a weights folder.
    epochs : int
        Passes over the training rows.
    batch_size : int
        Crystals a step.
    learning_rate : float
        Peak of the one-cycle schedule for the head.
    pretrained_share : float
        What the encoder gets of it.
    dropout : float
        Share of hidden channels of the head left out in training.
    n_members : int
        Networks that are trained and averaged, each with other held-out rows. Time and error both
        change in proportion: see the README.
    minimum : "auto", None or float
        Least value the target can have, such as 0 for a band gap: predictions are raised to it, and
        in training a prediction below it is no error where the target is the minimum. ``"auto"``
        takes the least training target if a tenth of them have it, else none.
    validation_share : float
        Share of the training formulas that choose the epoch; 0 to train on all rows to the end.
    patience : int
        Looks at the held-out rows without improvement (there are 15 in all) before training stops.
    device : str
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    random_state : int
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    validation_error_ : float
        Mean absolute error of the members on their held-out rows; NaN without such rows.
    reports_ : list of FitReport
        How the training of each member went.
    weights_config_ : WeightsConfig
        Of the weights it began from.
    minimum_ : float
    n_rows_ : int
        Training rows.

    References
    ----------
    UNATE, arXiv:2605.25866. CartNet, arXiv:2501.18369.

    Examples
    --------
    >>> from matminer_unate import UnateFineTuneRegressor
    >>> from matminer_unate.datasets import load_semiconductors
    >>> df = load_semiconductors()
    >>> model = UnateFineTuneRegressor(epochs=5, progress=False)
    >>> model = model.fit(df["structure"], df["gap_ev"])  # doctest: +SKIP
    >>> model.predict(df["structure"])  # doctest: +SKIP
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        epochs: int = 40,
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        pretrained_share: float = 0.5,
        dropout: float = 0.1,
        n_members: int = 1,
        minimum: Literal["auto"] | float | None = "auto",
        validation_share: float = 0.1,
        patience: int = 6,
        device: str = "auto",
        random_state: int = 0,
        progress: bool = True,
    ) -> None:
        self.weights = weights
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.pretrained_share = pretrained_share
        self.dropout = dropout
        self.n_members = n_members
        self.minimum = minimum
        self.validation_share = validation_share
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.progress = progress

    # -- training --------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> Self:
        """Fine-tune on structures and their targets.

        Parameters
        ----------
        X : list, tuple, Series, one-column DataFrame or array of structures
        y : (n_rows,)

        Raises
        ------
        InputError
            The lengths differ, a target is not finite, an option is wrong, or there are too few
            rows.
        StructureError
            A structure is unusable; the message names its row.
        """
        import torch

        from matminer_unate.crystal_regressor import Crystals, EncoderRegressor
        from matminer_unate.fitting import fit_network

        structures = entries_of(X)
        targets = check_targets(y, len(structures))
        self._check_options()
        device = resolve_device(self.device)
        config = read_config(self.weights)
        graphs = _read(structures, config)
        crystals = Crystals(graphs)
        formulas = [_formula(graph) for graph in graphs]
        self.minimum_ = target_floor(self.minimum, targets)
        settings = self._settings(self.minimum_)
        self.networks_: list[EncoderRegressor] = []
        self.reports_ = []
        total = self.n_members * self.epochs
        bar = tqdm(total=total, unit="epoch", desc=KIND, disable=not self.progress)
        with bar as shown, torch.random.fork_rng(devices=[]):
            for member, (train, held_out) in enumerate(self._splits(formulas)):
                seed = int(np.random.SeedSequence([self.random_state, member]).generate_state(1)[0])
                torch.manual_seed(seed)
                fresh, _ = load_encoder(self.weights)
                network = EncoderRegressor(fresh, config.is_known, dropout=self.dropout)

                def tell(epochs: float, text: str) -> None:
                    shown.set_postfix_str(text, refresh=False)
                    shown.update(epochs)

                best, report = fit_network(
                    network, crystals, targets, train, held_out, settings, seed, device, tell
                )
                self.networks_.append(best.cpu())  # type: ignore[arg-type]
                self.reports_.append(report)
        errors = [report.best_error for report in self.reports_]
        self.validation_error_ = float(np.mean(errors))
        self.n_rows_ = len(targets)
        self.weights_config_ = config
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predictions of structures, (n_rows,).

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        """
        check_is_fitted(self, "networks_")
        graphs = _read(entries_of(X), self.weights_config_)
        with tqdm(total=len(graphs), unit="rows", disable=not self.progress) as bar:
            return self.predict_graphs(graphs, bar.update)

    def predict_graphs(
        self, graphs: Sequence[RadiusGraph], progress: Callable[[int], Any] = lambda n: None
    ) -> NDArray[np.float64]:
        """Predictions for graphs as :func:`~matminer_unate.encoding.prepare` makes them with
        ``weights_config_``, (n_graphs,)."""
        from matminer_unate.crystal_regressor import Crystals
        from matminer_unate.fitting import predict

        check_is_fitted(self, "networks_")
        device = resolve_device(self.device)
        crystals, rows = Crystals(graphs), np.arange(len(graphs))
        found = np.zeros(len(graphs))
        for k, network in enumerate(self.networks_):
            tell = progress if k == 0 else (lambda n: None)
            found += predict(network.to(device), crystals, rows, device, self.minimum_, tell)
            network.cpu()
        return found / len(self.networks_)

    # -- disk ------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the model: ``model.safetensors`` and ``config.json``, no pickle.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        from safetensors.torch import save

        check_is_fitted(self, "networks_")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{k}/{name}": value.detach().contiguous()
            for k, network in enumerate(self.networks_)
            for name, value in network.state_dict().items()
        }
        content = save(tensors)
        parameters = self.get_params() | {"weights": str(self.weights)}
        config = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "sha256": hashlib.sha256(content).hexdigest(),
            "parameters": parameters,
            "weights": asdict(self.weights_config_),
            "minimum": self.minimum_ if math.isfinite(self.minimum_) else None,
            "validation_error": None
            if math.isnan(self.validation_error_)
            else self.validation_error_,
            "n_rows": self.n_rows_,
        }
        (folder / MODEL).write_bytes(content)
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Read a model that :meth:`save` wrote; the weights it began from are not needed.

        Raises
        ------
        WeightsError
            The folder or a file is missing, damaged, or of another kind or version.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        from matminer_unate.cartnet import SiteEncoder
        from matminer_unate.crystal_regressor import EncoderRegressor

        folder = Path(folder).expanduser()
        config = read_model_config(folder)
        content = (folder / MODEL).read_bytes()
        if hashlib.sha256(content).hexdigest() != config["sha256"]:
            raise WeightsError(f"{folder / MODEL} is truncated or changed; copy the folder again")
        try:
            model = cls(**config["parameters"] | {"device": device})
            model.weights_config_ = WeightsConfig(**config["weights"])
            encoder = model.weights_config_.encoder_config
            known = model.weights_config_.is_known
            tensors = load(content)
            model.networks_ = []
            with torch.random.fork_rng(devices=[]):
                for k in range(model.n_members):
                    network = EncoderRegressor(SiteEncoder(encoder), known)
                    own = f"{k}/"
                    state = {n[len(own) :]: v for n, v in tensors.items() if n.startswith(own)}
                    network.load_state_dict(state)
                    model.networks_.append(network.eval())
            minimum, error = config["minimum"], config["validation_error"]
            model.minimum_ = -math.inf if minimum is None else float(minimum)
            model.validation_error_ = math.nan if error is None else float(error)
            model.n_rows_ = int(config["n_rows"])
        except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as e:
            raise WeightsError(f"{folder} is no readable model ({e}); save it again") from e
        return model

    # -- scikit-learn ----------------------------------------------------------------------------

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.non_deterministic = False
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    # -- inside ----------------------------------------------------------------------------------

    def _check_options(self) -> None:
        if self.n_members < 1:
            raise InputError(f"n_members must be at least 1, got {self.n_members}")
        if not 0 <= self.validation_share < 1:
            raise InputError(
                f"validation_share must be from 0 to below 1, got {self.validation_share}"
            )

    def _settings(self, minimum: float) -> Any:
        from matminer_unate.fitting import FitSettings

        own = {f.name for f in fields(FitSettings)}
        given = {name: value for name, value in self.get_params().items() if name in own}
        return FitSettings(**given | {"minimum": minimum})

    def _splits(self, formulas: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows to learn from and rows that choose the epoch, for each member."""
        rows = np.arange(len(formulas))
        if not self.validation_share or len(set(formulas)) < 10:
            return [(rows, rows[:0])] * self.n_members
        splitter = GroupShuffleSplit(
            self.n_members, test_size=self.validation_share, random_state=self.random_state
        )
        return list(splitter.split(rows, groups=formulas))


def read_model_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a saved model.

    Raises
    ------
    WeightsError
        The folder holds no model of this kind and version.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / MODEL).stat()
    except FileNotFoundError:
        raise WeightsError(
            f"{folder} is no saved model: it needs {MODEL} and {CONFIG}, as model.save(folder) "
            "writes them"
        ) from None
    except (NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError) as e:
        raise WeightsError(f"{folder / CONFIG} is not readable JSON ({e})") from e
    kind = config.get("kind") if isinstance(config, dict) else None
    if kind != KIND:
        raise WeightsError(
            f"{folder} holds no fine-tuned regressor; unate featurize is for pretrained weights"
        )
    if config.get("format_version") != FORMAT_VERSION:
        raise WeightsError(
            f"{folder} is of model format {config.get('format_version')!r}, this version of "
            f"matminer_unate reads {FORMAT_VERSION}; install the version that wrote it"
        )
    return config


def _read(structures: Sequence[Any], config: WeightsConfig) -> list[RadiusGraph]:
    """Graphs of structures; an error names its row, and doubts are told once."""
    notes, graphs = EncodingNotes(config), []
    for row, structure in enumerate(structures):
        try:
            prepared = prepare(structure, config)
        except StructureError as e:
            raise StructureError(f"row {row}: {e}") from e
        notes.read(prepared)
        graphs.append(prepared.graph)
    for text in notes.texts():
        warnings.warn(text, UnateWarning, stacklevel=3)
    return graphs


def _formula(graph: RadiusGraph) -> str:
    """The same text for crystals of the same reduced formula."""
    numbers, counts = np.unique(graph.atomic_numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{z}:{n}" for z, n in zip(numbers, counts, strict=True))
