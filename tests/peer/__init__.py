"""transformers' own common tests, run against our classes and, as the control, against theirs."""
