"""Text in figures."""

from torchhebb.errors import printable


def plain(label: str) -> str:
    r"""A label that matplotlib draws as it is: no mathematics, and what is no text as it is written in Python.

    >>> print(plain("2 $ a piece"))
    2 \$ a piece
    """
    return printable(label).replace("$", r"\$")
