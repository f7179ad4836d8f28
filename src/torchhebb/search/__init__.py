"""Search for better settings of a recipe on held-out training images."""

from torchhebb.search.objective import Objective
from torchhebb.search.space import Choice, Dimension, Range, default_space, flags_of, parse_space
from torchhebb.search.study import Found, Search, Trial, read_best, search

__all__ = [
    "Choice",
    "Dimension",
    "Found",
    "Objective",
    "Range",
    "Search",
    "Trial",
    "default_space",
    "flags_of",
    "parse_space",
    "read_best",
    "search",
]
