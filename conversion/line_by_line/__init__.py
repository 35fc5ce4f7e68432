"""Files of text, a result for each line: what the tools that compute by line share.

Lines are read in windows, computed in batches of about equal length and written in order. A run
that was killed goes on where it was.
"""

from conversion.line_by_line.run import Limits, Summary, run_line_by_line
from conversion.line_by_line.work import Line, LineWork, Result, json_line

__all__ = ["Limits", "Line", "LineWork", "Result", "Summary", "json_line", "run_line_by_line"]
