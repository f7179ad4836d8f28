"""Algorithms that the questions use."""
