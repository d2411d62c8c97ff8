"""The embedded demo checkpoints: the scenes they know and the training that made them."""
