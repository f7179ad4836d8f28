"""Faults on purpose: what is damaged, cut or hostile ends in one line or in the right result."""
