"""What the panels of the board draw: plain values and arrays, no figure."""
