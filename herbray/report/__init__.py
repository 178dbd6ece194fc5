"""The report: results as one self-contained HTML page, for researchers and herbarium staff."""

from herbray.report.content import EncoderNote, ReportData, Sheet, SweepNote
from herbray.report.page import write_report
from herbray.report.sections.sweep import logarithmic_paths

__all__ = ["EncoderNote", "ReportData", "Sheet", "SweepNote", "logarithmic_paths", "write_report"]
