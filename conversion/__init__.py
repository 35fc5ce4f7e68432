"""Tools over both families: verify that they agree, and the `xlm` command line."""

from conversion.compare import BARS, Bars, Row
from conversion.report import Report
from conversion.verification import verify

__all__ = ["BARS", "Bars", "Report", "Row", "verify"]
