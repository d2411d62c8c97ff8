"""What a checkpoint is, and how to look inside it."""
