"""Checks of training data: what is wrong or odd, and what training does about it."""

from u2net.evaluation.check.examination import examine
from u2net.evaluation.check.findings import KINDS, Examined, Finding, Kind, Report
from u2net.evaluation.check.sheet import save_sheet

__all__ = ["KINDS", "Examined", "Finding", "Kind", "Report", "examine", "save_sheet"]
