"""Does a change of the code change its speed? Two checkouts, in turn, pair by pair.

    python -m benchmarks.two_checkouts OLD NEW [--pairs 10] [--rows 'decode*'] [--json FILE]

Each checkout has a worker that stays alive, and the old one has a second, the control. In a round
each of them computes a row once, in another order each time; what is compared are the ratios
within a round. A ratio above 1 says that the new code is slower. Its interval holds the median of
all ratios with a probability of at least 95 %, whatever their distribution. A row falls short if
its whole interval lies above 1.03; where the control's does too, the machine was not quiet enough.
"""
