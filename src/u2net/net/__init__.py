"""The network in torch: its definition, its checkpoints, its export. Needs the extra `torch`."""
