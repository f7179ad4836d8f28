"""Text in figures."""


def plain(label: str) -> str:
    r"""A label whose dollar signs matplotlib does not interpret as mathematics.

    >>> print(plain("2 $ a piece"))
    2 \$ a piece
    """
    return label.replace("$", r"\$")
