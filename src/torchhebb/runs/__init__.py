"""Finished runs, and the baselines that are compared with them."""
