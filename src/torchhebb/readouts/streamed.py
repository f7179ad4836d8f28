"""Ridge regression for any number of features, which are seen some at a time."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from torchhebb.bounds import above, between, each
from torchhebb.errors import UserError
from torchhebb.memory import free_bytes
from torchhebb.nn import LinearReadout
from torchhebb.progress import counted
from torchhebb.readouts.base import ChoosingPlan, FitContext, Fitted, best, kept_and_held, percent_correct
from torchhebb.readouts.dual import DualRidge, dual_ridge
from torchhebb.readouts.factor import blocks
from torchhebb.readouts.products import CLIP, SUMMED, Centred, SampleProducts, Scaled, standardised


@dataclass(frozen=True)
class StreamedRidge(ChoosingPlan):
    """The dual of `WideRidge` from the lower half of its matrix: W = Z^T (Z Z^T / N + strength I)^-1 Y / N.

    Features Z may lie on disk: they are standardised by all training images, some columns at a time, and their products
    summed.  Half the matrix and its factor are what is held, 4 N^2 bytes in all: 10 GB for 50,000 images, whatever the
    number of features.  Each strength takes one factorization, which judges it on held-out images and solves for it on
    all of them.  Features are standardised and centred by all training images in both.

    With `int8`, standardised features are clipped at six standard deviations and rounded to 127 steps of that for the
    products, which processors with such instructions sum several times faster; W is then that of the rounded features.

    Raises UserError for more samples than the memory can pair, settings out of range, or features that are not finite.
    Source: Saunders, Gammerman and Vovk 1998.

    Example:
        >>> x, labels = torch.eye(2).repeat(20, 1), torch.arange(2).repeat(20)
        >>> StreamedRidge().fit(x, labels, 2).readout(torch.eye(2)).argmax(1).tolist()
        [0, 1]
    """

    strengths: tuple[float, ...] = field(default=(1e-2, 3e-2, 1e-1), metadata=each(above(0)))
    """Strengths of the regularisation to choose from."""
    holdout: float = field(default=0.1, metadata=between(0, 1))
    """Share of the training images that chooses the strength."""
    int8: bool = True
    """Round standardised features to int8 for their products."""

    def check(self, samples: int, width: int, device: torch.device) -> None:
        needed, free = 4 * samples * (samples + 3 * SUMMED), free_bytes(device)
        if needed > free:
            raise UserError(
                f"a ridge of {samples:,} samples needs {needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are "
                "free: fit it to fewer"
            )

    def _fit(self, features: Tensor, labels: Tensor, classes: int, context: FitContext) -> Fitted:
        samples, width = features.shape
        kept, held = kept_and_held(labels, self.holdout, context.seed, features.device)
        order = torch.cat([kept, held])
        targets = torch.nn.functional.one_hot(labels[order], classes).float()
        products = SampleProducts(len(kept), len(held), int8=self.int8, device=features.device)
        context.progress.start(f"{context.name}: products", width, "features")
        for columns in blocks(width, SUMMED):
            products.add(features[:, columns][order])
            context.progress.advance(columns.stop - columns.start)
        context.progress.finish()
        scaled = Scaled(Centred(products), 1 / samples)

        scores: list[tuple[float, float]] = []
        chosen: DualRidge | None = None
        strengths = sorted(self.strengths, reverse=True)
        for strength in counted(strengths, f"{context.name}: solving", "strengths", context.progress):
            ridge = dual_ridge(scaled, targets, len(kept), strength)
            scores.append((strength, percent_correct(ridge.held_logits, labels[held])))
            if best(scores) == scores[-1]:
                chosen = ridge
        strength, accuracy = best(scores)
        notes = {"strength": strength, "held_out_accuracy": accuracy}
        context.resume.write(kind="closed_form", task=context.name, **notes)
        assert chosen is not None
        return Fitted(self._readout(features, order, chosen), notes)

    def _readout(self, features: Tensor, order: Tensor, ridge: DualRidge) -> LinearReadout:
        """The weights of raw features, by a second pass over them."""
        samples, width = features.shape
        readout = LinearReadout(width, len(ridge.prior))
        bias = ridge.prior.double()
        for columns in blocks(width, SUMMED):
            z, mean, scale = standardised(features[:, columns][order], samples, int8=self.int8)
            unit = CLIP / 127 if self.int8 else 1.0
            weight = z.float().T @ ridge.dual * (unit / samples) * scale.unsqueeze(1)
            readout.weight[:, columns] = weight.T
            bias -= mean.double() @ weight.double()
        readout.bias.copy_(bias)
        return readout.eval()
