"""Results to pictures, tables and one page."""

from torchhebb.report.collect import Answers, Run, read_run
from torchhebb.report.page import render, write_report

__all__ = ["Answers", "Run", "read_run", "render", "write_report"]
