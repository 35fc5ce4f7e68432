"""Tests with tools that need environments of their own; `make test-tools` makes them and runs this."""
