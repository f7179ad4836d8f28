"""A variant of a recipe that needs no function of its own."""

from dataclasses import dataclass

from torchhebb.train import Recipe


@dataclass(frozen=True)
class RecipeVariant:
    """Called, it gives its recipe; `words` are its docstring, as if it were a function.

    A family of recipes is then a comprehension, and `torchhebb list` shows each member as it shows a function.

    >>> from torchhebb.recipes.softhebb2023 import mnist
    >>> member = RecipeVariant(mnist(), "MNIST, once more.")
    >>> member().name, member.__doc__
    ('softhebb2023-mnist', 'MNIST, once more.')
    """

    recipe: Recipe
    words: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.words)

    def __call__(self) -> Recipe:
        return self.recipe
