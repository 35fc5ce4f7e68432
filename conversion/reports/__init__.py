"""What the tools report, and how it is shown: as text, as JSON, on a page, on a terminal."""
