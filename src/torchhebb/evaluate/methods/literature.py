"""Published results of other bio-plausible algorithms on CIFAR-10, with their sources and four qualities."""

from dataclasses import dataclass

QUALITIES = ("no weight transport", "local plasticity", "no update locking", "unsupervised")
"""No backward path with the forward weights; updates that depend only on the pre- and post-synaptic neuron; updates
that do not wait for layers above; learning without labels.  SoftHebb-2023 compares these qualities."""


@dataclass(frozen=True)
class Peer:
    """One algorithm: its test accuracy on CIFAR-10 in percent, and which of `QUALITIES` it has.

    `verified` is False for a number that is quoted from memory.  A quality is None if it does not apply, since nothing
    below the readout learns.  `judged` holds the indices in `QUALITIES` that are our own judgement, not a statement of
    the authors.
    """

    name: str
    accuracy: float
    source: str
    verified: bool
    qualities: tuple[bool | None, bool | None, bool | None, bool | None]
    judged: tuple[int, ...] = ()


_OWN, _TABLE, _MEMORY = "SoftHebb-2023", "comparison with Hebbian networks in SoftHebb-2023", "from memory"
_ALL, _NONE = (True, True, True, True), (False, False, False, False)

PEERS: tuple[Peer, ...] = (
    Peer("backpropagation", 84.0, _OWN, True, _NONE),
    Peer("SoftHebb", 80.31, _OWN, True, _ALL),
    Peer("Hebbian network (Amato et al.)", 63.9, f"{_TABLE}, best depth", True, _ALL, (0, 1, 2, 3)),
    Peer("Hebbian network (Lagani et al.)", 65.9, f"{_TABLE}, best depth", True, _ALL, (0, 1, 2, 3)),
    Peer("hard WTA (Miconi)", 64.6, f"{_TABLE}, best depth", True, _ALL, (0, 1, 2, 3)),
    Peer("hard WTA (Grinberg et al.)", 72.2, _MEMORY, False, _ALL, (0, 1, 2, 3)),
    Peer("feedback alignment", 71.8, _MEMORY, False, (True, False, False, False), (1, 2)),
    Peer("direct feedback alignment", 70.5, _MEMORY, False, (True, False, False, False), (1, 2)),
    Peer("sparse direct feedback alignment", 73.1, _MEMORY, False, (True, False, False, False), (1, 2)),
    Peer("direct random target projection", 65.6, _MEMORY, False, (True, False, True, False), (1,)),
    Peer("Burstprop", 79.9, _MEMORY, False, (True, True, False, False), (0, 1, 2)),
    Peer("equilibrium propagation", 78.5, _MEMORY, False, (False, True, False, False), (0, 1, 2)),
    Peer("latent predictive learning", 53.5, _MEMORY, False, _ALL, (1, 2)),
    Peer("self-contrastive forward-forward", 80.75, "its authors, 2025", True, _ALL, (0, 1, 2, 3)),
    Peer("CLAPP++", 81.18, "its authors, 2026", True, _ALL, (0, 1, 2, 3)),
    Peer("hard WTA, lateral inhibition, BCM", 75.2, "its authors, 2025", True, _ALL, (0, 1, 2, 3)),
    Peer("whitened patches, k-means", 79.6, "Coates and Ng 2011, lower end", True, _ALL, (0, 1, 2, 3)),
    Peer("scattering, RBF SVM", 82.3, "its authors, 2015", True, (None, None, None, None)),
    Peer("patch dictionaries", 85.0, "Thiry et al. 2021, lower end", False, (None, None, None, None)),
)

PATCH_NETWORKS: dict[str, dict[int, float]] = {
    "random patches, linear classifier with a 1x1 map (Thiry et al. 2021)": {
        512: 78.4,
        1024: 80.3,
        2048: 82.6,
        4096: 83.5,
        16384: 85.7,
        65536: 86.9,
    },
    "random filters, ridge (Coates and Ng's network)": {32000: 83.3, 256000: 84.2},
}
"""Published test accuracies on CIFAR-10 in percent of networks of patches that nothing has learned, by their number."""
