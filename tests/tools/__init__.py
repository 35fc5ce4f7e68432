"""Tests with tools that need environments of their own, which `make test-tools` makes."""
