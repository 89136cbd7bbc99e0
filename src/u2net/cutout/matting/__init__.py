"""Alpha at the picture's full size from the network's small mask, and the subject's own colours."""
