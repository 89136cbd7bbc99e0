"""From a picture to its cut-out: outline, finish and composition."""
