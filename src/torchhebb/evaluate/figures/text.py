"""Words in figures."""


def plain(label: str) -> str:
    r"""A label whose dollars matplotlib does not read as mathematics.

    >>> print(plain("2 $ a piece"))
    2 \$ a piece
    """
    return label.replace("$", r"\$")
