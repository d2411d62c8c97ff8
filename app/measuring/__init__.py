"""What the page measures in the background, one sort of work per file.

Plain functions of a checkpoint and pictures that tell a job how far they are. The caps keep what a
demo checkpoint takes below half a minute on one idle core.
"""
