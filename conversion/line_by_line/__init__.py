"""Files of text, a result for each line: what the tools that compute by line share.

Lines are read in windows, computed in batches of about equal length and written in order; a run
that was killed goes on where it was. `run.run_line_by_line` is the loop, `work.LineWork` what a
tool has to say, `limits.Limits` how many lines are computed together.
"""
