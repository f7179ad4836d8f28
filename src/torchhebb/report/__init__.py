"""Figures, tables and the report page, made from results."""

from torchhebb.report.collect import Answers, Reported, read_run
from torchhebb.report.page import render, write_report

__all__ = ["Answers", "Reported", "read_run", "render", "write_report"]
