"""The claims of SoftHebb-2023 as comparisons of measures."""

from collections.abc import Iterator

from torchhebb.recipes.claim import Claim, MeasureRef

_CIFAR = {"CIFAR-10": "softhebb2023-cifar10", "CIFAR-100": "softhebb2023-cifar100"}
_DEPTHS = (1, 2, 3)
_BP = "backpropagation_test_accuracy"


def _of(recipe: str, measure: str = "test_accuracy") -> MeasureRef:
    return MeasureRef(recipe, "accuracy", measure)


def _at(recipe: str, depth: int) -> str:
    return recipe if depth == max(_DEPTHS) else f"{recipe}-depth{depth}"


def _comparisons(title: str, recipe: str) -> Iterator[Claim]:
    """Each depth of one data set beside its baselines, and the depths beside each other."""
    for depth in _DEPTHS:
        name, words = _at(recipe, depth), f"{title}, depth {depth}: SoftHebb above"
        yield Claim(f"{words} hard WTA", _of(name), _of(f"{name}-hard"))
        yield Claim(f"{words} calibrated random weights", _of(name), _of(name, "random_test_accuracy"))
        yield Claim(f"{title}, depth {depth}: anti-Hebbian losers help SoftHebb", _of(name), _of(f"{name}-hebbian"))
    for lower in _DEPTHS[:-1]:
        yield Claim(
            f"{title}: depth {lower + 1} of SoftHebb above depth {lower}",
            _of(_at(recipe, lower + 1)),
            _of(_at(recipe, lower)),
        )
    yield Claim(
        f"{title}: hard WTA gains nothing by depth, depth 1 above depth 3",
        _of(f"{_at(recipe, 1)}-hard"),
        _of(f"{recipe}-hard"),
    )


def _end_to_end(title: str, recipe: str, depth: int, above: bool) -> Claim:
    """On which side of SoftHebb the paper prints backpropagation."""
    learned, supervised = _of(recipe), _of(recipe, _BP)
    if above:
        return Claim(f"{title}, depth {depth}: end-to-end backpropagation above SoftHebb", supervised, learned)
    return Claim(f"{title}, depth {depth}: SoftHebb above end-to-end backpropagation", learned, supervised)


_CIFAR10 = _CIFAR["CIFAR-10"]

CLAIMS = (
    *(claim for title, recipe in _CIFAR.items() for claim in _comparisons(title, recipe)),
    *(
        _end_to_end(title, _at(recipe, depth), depth, above=(title, depth) != ("CIFAR-100", 2))
        for title, recipe in _CIFAR.items()
        for depth in _DEPTHS
    ),
    _end_to_end("STL-10", "softhebb2023-stl10", 4, above=False),
    Claim("CIFAR-10, depth 3: width x4 above x2", _of(_CIFAR10), _of(f"{_CIFAR10}-width2")),
    Claim("CIFAR-10, depth 3: width x2 above x1", _of(f"{_CIFAR10}-width2"), _of(f"{_CIFAR10}-width1")),
    Claim("CIFAR-10, depth 1: 192 neurons above 96", _of(f"{_CIFAR10}-depth1-neurons192"), _of(f"{_CIFAR10}-depth1")),
    Claim("CIFAR-10, depth 1: 96 neurons above 48", _of(f"{_CIFAR10}-depth1"), _of(f"{_CIFAR10}-depth1-neurons48")),
    Claim(
        "CIFAR-10: one convolutional block above one fully connected layer",
        _of(f"{_CIFAR10}-depth1"),
        _of(f"{_CIFAR10}-depth1-linear"),
    ),
    Claim(
        "CIFAR-10: a second fully connected layer hurts",
        _of(f"{_CIFAR10}-depth1-linear"),
        _of(f"{_CIFAR10}-depth2-linear"),
    ),
    Claim(
        "CIFAR-10, depth 3: backpropagation with a dense third layer above the paper's grouped one",
        _of(_CIFAR10, _BP),
        _of(f"{_CIFAR10}-grouped", _BP),
    ),
)
