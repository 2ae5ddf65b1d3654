"""Fine-tune the pretrained encoder on your own property: structures and numbers in, a model out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import fields
from numbers import Integral, Real
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils.validation import check_is_fitted
from tqdm.auto import tqdm

from matminer_unate.checkpoint import DEFAULT_WEIGHTS, WeightsConfig, load_encoder, read_config
from matminer_unate.columns import EncodingNotes
from matminer_unate.encoding import (
    count_workers,
    prepare,
    resolve_device,
    single_threaded_workers,
)
from matminer_unate.entries import entries_of
from matminer_unate.errors import InputError, StructureError, UnateWarning
from matminer_unate.graph import RadiusGraph
from matminer_unate.targets import check_targets, target_floor

if TYPE_CHECKING:
    from matminer_unate.crystal_regressor import Crystals, EncoderRegressor
    from matminer_unate.fitting import FitReport, FitSettings

KIND = "UnateFineTuneRegressor"

EARLIEST = 0.6
"""Share of the training before which no weights are kept. With a tenth of 2,000 rows held out, free
choice took epochs 19 and 33 of 71, and the error was 5 % above that of a single network that more
rows had chosen for."""


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
    epochs : "auto" or int
        Passes over the training rows. ``"auto"``: 50·√(4,000 / rows), at least 20 and at most 80.
        On the gap of 2,000 crystals, 25 passes in place of 40 cost 8 %.
    batch_size : int
        Crystals a step.
    learning_rate : float
        Peak of the one-cycle schedule for the head.
    pretrained_share : float
        What the encoder gets of it.
    dropout : float
        Share of hidden channels of the head left out in training.
    n_members : int
        Networks that are trained and averaged, each with other held-out rows. They are trained at
        the same time, on as many cores as torch may use.
    tight_binding : bool
        Let the head read the columns of :class:`~matminer_unate.TightBindingStats` too, 10 to
        30 ms for a crystal.
    minimum : "auto", None or float
        Least value the target can have, such as 0 for a band gap: predictions are raised to it, and
        in training a prediction below it is no error where the target is the minimum. ``"auto"``
        takes the least training target if a tenth of them, and at least three, have it.
    validation_share : float
        Share of the training formulas that choose the epoch and tell the error; 0 to train on all
        rows to the end, which is a few percent better (2,000 gaps: .225 against .233 eV).
    patience : int
        Looks at the held-out rows without improvement before training stops. There are 15 in all,
        of which the last 7 count.
    device : str
        ``"auto"`` (CUDA where there is one), ``"cpu"``, ``"cuda"``, …
    random_state : int
        From 0 on.
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
        epochs: Literal["auto"] | int = "auto",
        batch_size: int = 64,
        learning_rate: float = 2e-3,
        pretrained_share: float = 0.2,
        dropout: float = 0.1,
        n_members: int = 2,
        tight_binding: bool = True,
        minimum: Literal["auto"] | float | None = "auto",
        validation_share: float = 0.1,
        patience: int = 5,
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
        self.tight_binding = tight_binding
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
        from matminer_unate.fitting import fit_network

        structures = entries_of(X)
        targets = check_targets(y, len(structures))
        self._check_options()
        self.weights_config_ = read_config(self.weights)
        crystals = self._crystals(structures)
        self.minimum_ = target_floor(self.minimum, targets)
        self.n_rows_ = len(targets)
        settings = self._settings(self.minimum_, len(targets))
        splits = self._splits([_formula(graph) for graph in crystals.graphs])
        state = np.random.SeedSequence(self.random_state).generate_state(2 * self.n_members)
        seeds = state.astype(int).tolist()
        device = resolve_device(self.device)
        lock = Lock()
        total = self.n_members * settings.epochs
        with tqdm(total=total, unit="epoch", desc=KIND, disable=not self.progress) as bar:

            def tell(epochs: float, text: str) -> None:
                with lock:
                    bar.set_postfix_str(text, refresh=False)
                    bar.update(epochs)

            def train(member: int) -> tuple[Any, FitReport]:
                rows, held_out = splits[member]
                network = networks[member]
                if crystals.columns is not None:
                    network.set_columns(crystals.columns[rows])
                seed = seeds[self.n_members + member]
                return fit_network(
                    network, crystals, targets, rows, held_out, settings, seed, device, tell
                )

            networks = [self._new_network(seed, crystals) for seed in seeds[: self.n_members]]
            # One core each is several times faster than several cores for one: see encoding.
            with single_threaded_workers(min(self.n_members, count_workers(device))) as workers:
                found = list(workers.map(train, range(self.n_members)))
        self.networks_: list[EncoderRegressor] = [network.cpu() for network, _ in found]
        self.reports_ = [report for _, report in found]
        self.validation_error_ = float(np.mean([r.best_error for r in self.reports_]))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predictions of structures, (n_rows,).

        Raises
        ------
        StructureError
            A structure is unusable; the message names its row.
        """
        from matminer_unate.fitting import predict

        check_is_fitted(self, "networks_")
        crystals = self._crystals(entries_of(X))
        device, rows = resolve_device(self.device), np.arange(len(crystals))
        found = np.zeros(len(rows))
        total = len(rows) * len(self.networks_)
        with (
            tqdm(total=total, unit="rows", desc=KIND, disable=not self.progress) as bar,
            single_threaded_workers(1) as workers,
        ):
            for network in self.networks_:
                task = workers.submit(
                    predict, network.to(device), crystals, rows, device, self.minimum_, bar.update
                )
                found += task.result()
                network.cpu()
        return found / len(self.networks_)

    def save(self, folder: str | Path) -> None:
        """Write the fitted model as ``model.safetensors`` and ``config.json``.

        Parameters
        ----------
        folder : path
            Created if need be; files in it are replaced.
        """
        from matminer_unate.finetune_files import save_fine_tuned

        check_is_fitted(self, "networks_")
        save_fine_tuned(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Read a model that :meth:`save` wrote; the weights it began from are not needed.

        Raises
        ------
        WeightsError
            The folder or a file is missing, damaged, or of another kind or version.
        """
        from matminer_unate.finetune_files import load_fine_tuned

        model = cls(device=device)
        with single_threaded_workers(1) as workers:
            workers.submit(load_fine_tuned, model, Path(folder).expanduser()).result()
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

    def _crystals(self, structures: Sequence[Any]) -> Crystals:
        """Graphs, and the columns of the tight-binding model where they are asked for."""
        from matminer_unate.crystal_regressor import Crystals
        from matminer_unate.tight_binding_stats import TightBindingStats

        graphs = _read(structures, self.weights_config_)
        if not self.tight_binding:
            return Crystals(graphs)
        # Where that model has no answer, the network takes its columns for average.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnateWarning)
            columns = TightBindingStats(on_error="nan").transform(list(structures))
        return Crystals(graphs, columns=columns)

    def _new_network(self, seed: int, crystals: Crystals) -> EncoderRegressor:
        import torch

        from matminer_unate.crystal_regressor import EncoderRegressor

        n_given = 0 if crystals.columns is None else crystals.columns.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder, config = load_encoder(self.weights)
            return EncoderRegressor(encoder, config.is_known, self.dropout, n_given)

    def _check_options(self) -> None:
        whole = {"n_members": 1, "batch_size": 2, "patience": 0, "random_state": 0}
        if self.epochs != "auto":
            whole["epochs"] = 1
        for name, least in whole.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                or_auto = "'auto' or " if name == "epochs" else ""
                raise InputError(
                    f"{name} must be {or_auto}an integer from {least} on, got {value!r}"
                )
        for name in ("dropout", "validation_share"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= float(value) < 1:
                raise InputError(f"{name} must be from 0 to below 1, got {value!r}")
        for name in ("learning_rate", "pretrained_share"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise InputError(f"{name} must be a number from 0 on, got {value!r}")

    def _settings(self, minimum: float, n_rows: int) -> FitSettings:
        from matminer_unate.fitting import FitSettings

        own = {f.name for f in fields(FitSettings)}
        given = {name: value for name, value in self.get_params().items() if name in own}
        if self.epochs == "auto":
            given["epochs"] = min(80, max(20, round(50 * (4000 / n_rows) ** 0.5)))
        return FitSettings(**given | {"minimum": minimum, "earliest": EARLIEST})

    def _splits(self, formulas: Sequence[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows to learn from and rows that choose the epoch, for each member."""
        rows = np.arange(len(formulas))
        if not self.validation_share or len(set(formulas)) < 10:
            return [(rows, rows[:0])] * self.n_members
        splitter = GroupShuffleSplit(
            self.n_members, test_size=self.validation_share, random_state=self.random_state
        )
        try:
            return list(splitter.split(rows, groups=formulas))
        except ValueError:
            raise InputError(
                f"validation_share {self.validation_share} leaves no training rows of the "
                f"{len(set(formulas))} formulas; lower it"
            ) from None


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
        warnings.warn(text, UnateWarning, stacklevel=4)
    return graphs


def _formula(graph: RadiusGraph) -> str:
    """The same text for crystals of the same reduced formula."""
    numbers, counts = np.unique(graph.atomic_numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{z}:{n}" for z, n in zip(numbers, counts, strict=True))
