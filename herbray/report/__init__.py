"""Results drawn as one self-contained HTML page, for readers of the paper and for herbarium staff."""

from herbray.report.content import EncoderNote, ReportData, Sheet
from herbray.report.page import write_report

__all__ = ["EncoderNote", "ReportData", "Sheet", "write_report"]
