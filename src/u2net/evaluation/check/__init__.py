"""What is wrong with training data, what is odd about it, and what training does about each."""

from u2net.evaluation.check.examination import examine
from u2net.evaluation.check.findings import KINDS, Examined, Finding, Kind, Report
from u2net.evaluation.check.sheet import save_sheet

__all__ = ["KINDS", "Examined", "Finding", "Kind", "Report", "examine", "save_sheet"]
