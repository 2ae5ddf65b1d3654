"""The fine-tuned network as one more expert of UnateRegressor: a network a fold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matminer_unate.errors import InputError
from matminer_unate.featurizers.unate import prepare
from matminer_unate.finetuning import settings
from matminer_unate.finetuning.checkpoints import CheckpointFolder, TrainingFiles
from matminer_unate.network.devices import resolve_device
from matminer_unate.network.weights import read_config
from matminer_unate.regressors.kernel_ridge import Rows, Vector
from matminer_unate.transforms import TargetTransform, TransformedTarget

if TYPE_CHECKING:
    from matminer_unate.finetuning.networks import Crystals, PropertyEncoder

AUTO_ROWS = 5_000
"""From so many training rows on, ``network="auto"`` is yes. With 2,000 gaps the error fell by 1.6 %
for the network's share of 0.4, with 8,700 bulk moduli by 13 % for one of 0.8."""

SECONDS = 1.5e-3
"""Of one core, for a crystal of some 10 sites in one epoch."""


def network_seconds(n_rows: int, n_folds: int) -> float:
    """What the networks of all folds will roughly take on one core."""
    inside = max(n_rows * (n_folds - 1) // n_folds, 1)
    return n_folds * (inside * settings.auto_epochs(inside) + n_rows) * SECONDS


@dataclass
class NetworkExpert:
    """The pretrained encoder, trained on to a target on the rows outside of each fold.

    Each network learns the transformation of the target that its fold chose, standardised, by
    absolute or squared errors as the target is scored (:mod:`matminer_unate.finetuning`), to the
    end of a fixed number of epochs: no row of its fold takes part. Predictions are averaged.

    Attributes
    ----------
    networks : list of PropertyEncoder
        One a fold, on the CPU.
    centres, spreads : (n_folds,)
        Of what each learned.
    weights : str or Path
        What they began from.
    """

    networks: list[PropertyEncoder]
    centres: Vector
    spreads: Vector
    weights: str | Path

    @classmethod
    def fit(
        cls,
        structures: Sequence[Any],
        electrons: NDArray[np.float32] | None,
        target: TransformedTarget,
        outputs: Sequence[int],
        folds: Sequence[Rows],
        weights: str | Path,
        device: str,
        seed: int,
        tell: Callable[[float], Any],
        checkpoints: CheckpointFolder | None = None,
    ) -> tuple[NetworkExpert, Vector]:
        """Train a network for each fold, as many at the same time as torch may use cores.

        Parameters
        ----------
        structures : (n_rows,)
            Usable ones.
        electrons : (n_rows, k) or None
            Tight-binding columns, which the head reads too.
        target : TransformedTarget
        outputs : (n_folds,)
            The transformation that each fold chose.
        folds : sequence of row arrays
        weights : str or path
        device : str
        seed : int
        tell : callable
            Told the share of the training that is done.
        checkpoints : CheckpointFolder, optional
            In which the trainings are kept, also when all are done; those that are there go on.

        Returns
        -------
        expert : NetworkExpert
        held_out : (n_rows,)
            Predictions of each row by the network of its fold, in the unit of the target.

        Raises
        ------
        InputError
            The training diverges.
        KeyboardInterrupt
        """
        from matminer_unate.finetuning.fitting import DivergedError
        from matminer_unate.finetuning.members import new_members, predict_with, train_members

        every, n_folds = np.arange(len(structures)), len(folds)
        crystals = _crystals(structures, electrons, weights)
        splits = [(np.setdiff1d(every, fold), every[:0]) for fold in folds]
        seeds = np.random.SeedSequence(seed).generate_state(2 * n_folds).astype(int).tolist()
        members = new_members(weights, settings.DROPOUT, splits, seeds, electrons, 1)
        where, n_done = resolve_device(device), 0
        n_least = min(len(rows) for rows, _ in splits)
        row_weights = None if (target.weights == 1).all() else target.weights
        networks: dict[int, PropertyEncoder] = {}
        centres, spreads, held_out = np.empty(n_folds), np.empty(n_folds), np.empty(len(every))
        for output in sorted(set(outputs)):
            some = [k for k in range(n_folds) if outputs[k] == output]
            transform, z = target.transforms[output], target.values[:, output]
            centre, spread = float(z.mean()), float(z.std()) or 1.0
            minimum = _lowest(transform, target, centre, spread)
            how = settings.fine_tuning(n_least, scoring=target.scoring, minimum=minimum)
            before, share = n_done / n_folds, len(some) / n_folds / how.epochs

            def show(epochs: float, _: str, before: float = before, share: float = share) -> None:
                tell(before + share * epochs)

            chosen, standard = [members[k] for k in some], (z - centre) / spread
            given = crystals, standard, row_weights, how, where
            files = TrainingFiles(checkpoints, *given) if checkpoints else None
            try:
                found, interrupt = train_members(chosen, *given, show, checkpoints=files)
            except DivergedError as e:
                raise InputError(
                    f"no network can learn this target: {e.args[0]}; set network=False"
                ) from e
            if interrupt is not None:
                raise interrupt
            n_done += len(some)
            for k, (network, _) in zip(some, found, strict=True):
                networks[k], centres[k], spreads[k] = network.cpu(), centre, spread
                own = _crystals_of(crystals, folds[k])
                (values,) = predict_with([network], own, where, lambda share: None)
                held_out[folds[k]] = transform.backward(values[:, 0] * spread + centre)
        expert = cls([networks[k] for k in range(n_folds)], centres, spreads, weights)
        return expert, held_out

    def predict(
        self,
        structures: Sequence[Any],
        electrons: NDArray[np.float32] | None,
        transforms: Sequence[TargetTransform],
        outputs: Sequence[int],
        device: str,
    ) -> Vector:
        """Mean of the networks' predictions in the unit of the target, (n_rows,)."""
        from matminer_unate.finetuning.members import predict_with

        if not len(structures):
            return np.empty(0)
        crystals, where = _crystals(structures, electrons, self.weights), resolve_device(device)
        found = predict_with(self.networks, crystals, where, lambda share: None)
        scales = zip(found, outputs, self.centres, self.spreads, strict=True)
        each = [transforms[o].backward(z[:, 0] * spread + mean) for z, o, mean, spread in scales]
        return np.asarray(np.mean(each, axis=0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All numbers by name."""
        found = {"network/centres": self.centres, "network/spreads": self.spreads}
        for k, network in enumerate(self.networks):
            state = network.state_dict()
            found |= {f"network/{k}/{name}": value.numpy() for name, value in state.items()}
        return found

    @classmethod
    def of_arrays(cls, arrays: dict[str, NDArray[Any]], weights: str | Path) -> NetworkExpert:
        """From such arrays, and the weights that the networks began from.

        Raises
        ------
        KeyError, RuntimeError
            They are not those of such networks.
        """
        import torch

        from matminer_unate.finetuning.networks import PropertyEncoder
        from matminer_unate.network.encoder import SiteEncoder
        from matminer_unate.network.initialisation import WithoutDrawing

        config, networks = read_config(weights), []
        centres, spreads = arrays["network/centres"], arrays["network/spreads"]
        for k in range(len(centres)):
            own = f"network/{k}/"
            state = {
                name.removeprefix(own): torch.from_numpy(array)
                for name, array in arrays.items()
                if name.startswith(own)
            }
            with WithoutDrawing():
                n_given = len(state["given_mean"])
                encoder = SiteEncoder(config.encoder)
                network = PropertyEncoder(encoder, config.is_known, settings.DROPOUT, n_given)
            network.load_state_dict(state)
            networks.append(network.eval())
        return cls(networks, centres, spreads, weights)


def _crystals(
    structures: Sequence[Any], electrons: NDArray[np.float32] | None, weights: str | Path
) -> Crystals:
    from matminer_unate.finetuning.networks import Crystals

    config = read_config(weights)
    return Crystals([prepare(s, config).graph for s in structures], columns=electrons)


def _crystals_of(crystals: Crystals, rows: Rows) -> Crystals:
    from matminer_unate.finetuning.networks import Crystals

    columns = None if crystals.columns is None else crystals.columns[rows]
    return Crystals([crystals.graphs[row] for row in rows], columns=columns)


def _lowest(
    transform: TargetTransform, target: TransformedTarget, centre: float, spread: float
) -> float:
    """The minimum as the network has it; it matters where training targets are that low."""
    if target.y.min() > target.minimum:
        return -math.inf
    return (float(transform.forward(np.array([target.minimum]))[0]) - centre) / spread
