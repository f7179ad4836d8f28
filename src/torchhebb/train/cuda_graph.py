"""The stepper that runs several learning steps as one CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from torchhebb.nn import learn
from torchhebb.nn.packing import pack, unpack
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.train.device import Precision, autocast

STEPS_PER_REPLAY = 8
_WARM_UPS = 3  # of the body before it is captured, as torch advises: libraries choose their kernels in the first

Replay = Callable[[], object]
Capture = Callable[[Callable[[], None]], Replay]


class CudaGraphStepper:
    """Learning steps that are collected until there are `count` of them and then run as one replay of a captured graph.

    A step is `learn`, the optimizer's step, and no gradients left: updates are made and used up inside the graph.
    Batches are copied to an input of fixed place, and the fraction of the rates at each step is a tensor there.  What a
    graph cannot take runs eagerly, in order: a batch of another size (the last of an epoch), and the steps that
    still wait when `flush` is called.  So every batch is learned from exactly once, in the order in which it came.

    Args: part, in train mode; optimizer; rates, those of its groups in full; factor, the fraction of the rates at a
    step; count, the steps of a replay; capture, from a body to what replays it, which may run the body before: weights
    and running statistics are put back.
    """

    def __init__(
        self,
        part: nn.Module,
        optimizer: NormAdaptiveSGD,
        rates: Sequence[float | Tensor],
        factor: Callable[[int], float],
        *,
        precision: Precision = "float32",
        count: int = STEPS_PER_REPLAY,
        capture: Capture | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        self.part, self.optimizer, self.precision, self.count = part, optimizer, precision, count
        self.capture = capture or capture_on_cuda
        self.rates, self.factor = rates, factor
        self.learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.inputs: Tensor | None = None
        self.factors: Tensor | None = None
        self.waiting: list[float] = []
        self._replay: Replay | None = None

    def step(self, number: int, x: Tensor, labels: Tensor | None = None) -> None:
        """A batch to learn from, now or within the next `count` calls; labels are not read."""
        factor = self.factor(number)
        if self.inputs is None:
            self.inputs = torch.empty(self.count, *x.shape, dtype=x.dtype, device=x.device)
            self.factors = torch.ones(self.count, dtype=self.learned[0].dtype, device=x.device)
        if x.shape != self.inputs.shape[1:]:
            self.flush()
            self._step(x, factor)
            return
        self.inputs[len(self.waiting)].copy_(x)
        self.waiting.append(factor)
        if len(self.waiting) == self.count:
            assert self.factors is not None
            self.factors.copy_(torch.tensor(self.waiting, dtype=self.factors.dtype))
            self._replay = self._replay or self._captured()
            self._replay()
            self.waiting = []

    def flush(self) -> None:
        """Run all collected steps: afterwards weights and running statistics include all batches."""
        for x, factor in zip(() if self.inputs is None else self.inputs, self.waiting, strict=False):
            self._step(x, factor)
        self.waiting = []

    def pack(self) -> dict[str, Tensor]:
        return pack(optimizer=self.optimizer)

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        unpack(tensors, optimizer=self.optimizer)

    def _captured(self) -> Replay:
        kept = [*self.learned, *_buffers(self.part)]
        before = [tensor.clone() for tensor in kept]
        replay = self.capture(self._body)
        for tensor, value in zip(kept, before, strict=True):
            tensor.copy_(value)
        return replay

    def _body(self) -> None:
        assert self.inputs is not None and self.factors is not None
        for x, factor in zip(self.inputs.unbind(), self.factors.unbind(), strict=True):
            self._step(x, factor)

    @torch.no_grad()
    def _step(self, x: Tensor, factor: float | Tensor) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        with autocast(self.precision, x.device):
            learn(self.part, x)
        self.optimizer.step()
        self.optimizer.zero_grad()


def cuda_graph_stepper(
    part: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    precision: Precision,
    rates: Sequence[float | Tensor],
    factor: Callable[[int], float],
) -> CudaGraphStepper | None:
    """Steps as graphs if they can be captured: on CUDA, with an optimizer whose learning rates may be tensors.

    Not run, because no GPU was available.
    """
    if device.type != "cuda" or not isinstance(optimizer, NormAdaptiveSGD):
        return None
    return CudaGraphStepper(part, optimizer, rates, factor, precision=precision)


def capture_on_cuda(body: Callable[[], None]) -> Replay:
    """Run `body` a few times on a stream beside the current one, then record what it launches.

    The body must have static shapes and must not wait for the device.  Recording itself runs nothing.
    """
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(_WARM_UPS):
            body()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    return graph.replay


def _buffers(part: nn.Module) -> Sequence[Tensor]:
    """The running statistics that learning moves, also of members' modules that a stack does not own."""
    own = [*part.buffers()]
    for module in part.modules():
        for member in getattr(module, "members", ()):
            own += member.buffers()
    return own
