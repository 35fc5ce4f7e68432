"""Zip archives whose members are stored as they are."""
