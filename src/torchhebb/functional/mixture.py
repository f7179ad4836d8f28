"""The generative model of a soft winner-take-all layer: a mixture of von Mises-Fisher distributions.

| symbol | meaning |
|---|---|
| x | a unit vector of d numbers, d >= 2 |
| mu_k | mean direction of component k: the weights of neuron k, scaled to unit norm |
| kappa | concentration of every component: the inverse temperature |
| pi_k | prior of component k: exp(kappa b_k), scaled to sum to one; uniform without a bias |

Densities are computed in float64 and returned in the dtype of x: a log normaliser of thousands would otherwise
make the differences between components too small for its precision.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

_MOST = 1e7  # the series has as many terms


def log_normaliser(dimension: int, inverse_temperature: float) -> float:
    """Logarithm of the constant that makes C_d(kappa) exp(kappa mu . x) a density on the unit sphere of d dimensions.

    C_d(kappa) = kappa^(d/2 - 1) / ((2 pi)^(d/2) I_{d/2 - 1}(kappa)), written as one over the sphere's area times
    sum_j (kappa^2 / 4)^j / (j! (d/2) (d/2 + 1) ... (d/2 + j - 1)), whose terms are all positive.

    Args: dimension >= 2; inverse_temperature from 0 to 1e7.  Returns: log C.  Raises ValueError outside these.
    Source: SoftHebb-2022, the generative model; Mardia and Jupp 2000, section 9.3.2.

    >>> round(math.exp(-log_normaliser(3, 0.0)) / math.pi, 9)  # uniform: one over the area of the sphere, 4 pi
    4.0
    """
    log_area = math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)
    return -log_area - _log_series(dimension, inverse_temperature)


def mean_resultant_length(dimension: int, inverse_temperature: float) -> float:
    """Mean of mu . x within a component: A_d(kappa) = I_{d/2}(kappa) / I_{d/2 - 1}(kappa), from 0 (uniform) to 1.

    Args: dimension >= 2; inverse_temperature from 0 to 1e7.  Returns: A.  Raises ValueError outside these.
    Source: Mardia and Jupp 2000, section 9.3.2.

    >>> round(mean_resultant_length(3, 2.0), 9), round(1 / math.tanh(2) - 1 / 2, 9)
    (0.537314721, 0.537314721)
    """
    ratio = _log_series(dimension + 2, inverse_temperature) - _log_series(dimension, inverse_temperature)
    return inverse_temperature / dimension * math.exp(ratio)


def component_log_density(x: Tensor, weight: Tensor, inverse_temperature: float) -> Tensor:
    """log p(x | k) = log C_d(kappa) + kappa mu_k . x with mu_k = w_k / ||w_k||.

    Args: x (B, d), unit rows; weight (K, d).  Returns: (B, K).
    Raises ValueError for other shapes, rows of x that are not unit vectors, and rows of weight without a direction.
    Source: SoftHebb-2022, the generative model.

    >>> component_log_density(torch.eye(2), torch.eye(2), 3.0)
    tensor([[-0.4232, -3.4232],
            [-3.4232, -0.4232]])
    """
    return _component(x, weight, inverse_temperature).to(x.dtype)


def mixture_log_density(x: Tensor, weight: Tensor, inverse_temperature: float, *, bias: Tensor | None = None) -> Tensor:
    """log q(x) = log sum_k pi_k p(x | k): the log likelihood of each sample.

    Args: x (B, d), unit rows; weight (K, d); bias (K,).  Returns: (B,).
    Raises ValueError as `component_log_density`, and for a bias of another shape.
    Source: SoftHebb-2022, the generative model.

    >>> bias = torch.tensor([0.75, 0.25]).log() / 2
    >>> mixture_log_density(torch.eye(2), torch.eye(2), 2.0, bias=bias)
    tensor([-0.9054, -1.7074])
    """
    return joint_log_density(x, weight, inverse_temperature, bias=bias).logsumexp(1).to(x.dtype)


def joint_log_density(x: Tensor, weight: Tensor, inverse_temperature: float, *, bias: Tensor | None = None) -> Tensor:
    """log pi_k + log p(x | k), in float64; arguments and errors as `mixture_log_density`.  Returns: (B, K)."""
    return _component(x, weight, inverse_temperature) + log_priors(weight, inverse_temperature, bias=bias)


def log_priors(weight: Tensor, inverse_temperature: float, *, bias: Tensor | None = None) -> Tensor:
    """log pi_k = kappa b_k - log sum_l exp(kappa b_l), in float64.

    Args: weight (K, d); bias (K,), None for the uniform prior.  Returns: (K,).
    Raises ValueError if bias does not have one entry per component.
    Source: SoftHebb-2022, the bias as log prior, with exp(b ln B) for a base B.

    >>> log_priors(torch.eye(2), 1.0).exp()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    if bias.shape != (len(weight),):
        raise ValueError(f"bias must have shape ({len(weight)},), got {tuple(bias.shape)}")
    return torch.log_softmax(inverse_temperature * bias.double(), 0)


def sample_mixture(
    samples: int,
    weight: Tensor,
    inverse_temperature: float,
    *,
    bias: Tensor | None = None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draws from the mixture: component k with probability pi_k, then x from p(x | k) by rejection.

    A uniform unit vector with t = mu . v is pushed towards mu, to t' = (r + t) / (1 + r t), and kept with probability
    exp(kappa (t' - r)) ((1 - r t') / (1 - r^2))^(d - 1), where r = (1 - b) / (1 + b) and
    b = (d - 1) / (2 kappa + sqrt(4 kappa^2 + (d - 1)^2)).

    Args: samples >= 1; weight (K, d); bias (K,).  Returns: x (samples, d) and k (samples,), on the device of weight.
    Raises ValueError outside these and for rows of weight without a direction.
    Source: Wood 1994, algorithm VM*; its symmetric beta variable is (1 - t) / 2.

    >>> x, k = sample_mixture(4, torch.eye(3), 5.0, generator=torch.Generator().manual_seed(0))
    >>> x.shape, k.shape
    (torch.Size([4, 3]), torch.Size([4]))
    """
    _check(weight.shape[-1], inverse_temperature)
    if samples < 1:
        raise ValueError(f"samples must be positive, got {samples}")
    means = _directions(weight.detach()).to(generator.device)
    priors = log_priors(weight.detach(), inverse_temperature, bias=bias).exp().to(generator.device)
    component = torch.multinomial(priors, samples, replacement=True, generator=generator)
    x = torch.empty(samples, means.shape[1], dtype=means.dtype, device=means.device)
    left = torch.arange(samples, device=means.device)
    while len(left):
        proposed, kept = _propose(means[component[left]], inverse_temperature, generator)
        x[left[kept]] = proposed[kept]
        left = left[~kept]
    return x.to(weight), component.to(weight.device)


def _component(x: Tensor, weight: Tensor, inverse_temperature: float) -> Tensor:
    means, x = _directions(weight), x.double()
    if x.dim() != 2 or x.shape[1] != means.shape[1]:
        raise ValueError(f"x must have shape (B, {means.shape[1]}), got {tuple(x.shape)}")
    radius = torch.linalg.vector_norm(x, dim=1)
    if not ((radius - 1).abs() < 0.01).all():  # as wide as rounding in bfloat16
        raise ValueError(f"x must hold unit vectors, got norms from {radius.min():.3g} to {radius.max():.3g}")
    return log_normaliser(x.shape[1], inverse_temperature) + inverse_temperature * (x @ means.mT)


def _directions(weight: Tensor) -> Tensor:
    if weight.dim() != 2:
        raise ValueError(f"weight must have shape (K, d), got {tuple(weight.shape)}")
    radius = torch.linalg.vector_norm(weight.double(), dim=1, keepdim=True)
    if not ((radius > 0) & radius.isfinite()).all():
        raise ValueError(f"every row of weight must have a direction, got norms from {radius.min()} to {radius.max()}")
    return weight.double() / radius


def _check(dimension: int, inverse_temperature: float) -> None:
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    if not 0 <= inverse_temperature <= _MOST:
        raise ValueError(f"inverse_temperature must be from 0 to {_MOST:g}, got {inverse_temperature}")


def _log_series(dimension: int, inverse_temperature: float) -> float:
    """Logarithm of the sum over j in `log_normaliser`, cut where its terms are below rounding."""
    _check(dimension, inverse_temperature)
    order = dimension / 2 - 1
    largest = (math.hypot(order, inverse_temperature) - order) / 2  # the index of the largest term
    terms = math.ceil(largest + 6 * math.sqrt(inverse_temperature)) + 32  # twelve standard deviations beyond it
    j = torch.arange(terms, dtype=torch.float64, device="cpu")
    square = torch.tensor(inverse_temperature**2 / 4, dtype=torch.float64, device="cpu")
    rising = torch.lgamma(j + order + 1) - math.lgamma(order + 1)
    return (torch.xlogy(j, square) - torch.lgamma(j + 1) - rising).logsumexp(0).item()


def _propose(means: Tensor, inverse_temperature: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One proposal for each row of means, and which of them are kept."""
    freedom = means.shape[1] - 1
    b = freedom / (2 * inverse_temperature + math.hypot(2 * inverse_temperature, freedom))
    r = (1 - b) / (1 + b)
    noise = torch.randn(means.shape, dtype=means.dtype, device=means.device, generator=generator)
    chance = torch.rand(len(means), 1, dtype=means.dtype, device=means.device, generator=generator)
    uniform = normalize(noise, dim=1)
    t = (uniform * means).sum(1, keepdim=True)
    pushed = (r + t) / (1 + r * t)
    aside = normalize(uniform - t * means, dim=1)
    proposed = normalize(pushed * means + (1 - pushed.square()).clamp_min(0).sqrt() * aside, dim=1)
    log_probability = inverse_temperature * (pushed - r) + freedom * torch.log((1 - r * pushed) / (1 - r * r))
    return proposed, (chance.log() <= log_probability)[:, 0]
