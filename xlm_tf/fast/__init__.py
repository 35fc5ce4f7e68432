"""What stands in for a formula where it computes the same, faster."""
