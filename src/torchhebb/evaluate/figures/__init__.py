"""Figures that several questions draw."""
