"""Say what a checkpoint is and holds, and what is missing or extra: `xlm inspect`."""
