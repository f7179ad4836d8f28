"""The tiny finished run of the questions' tests, for the tests of runs as well."""

from tests.evaluate.conftest import run, store

__all__ = ["run", "store"]
