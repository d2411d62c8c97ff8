"""Headless analysis: checkpoints and images in, labelled results out."""
