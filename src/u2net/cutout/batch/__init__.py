"""Pictures by the folder: by processes of this machine, or by a Ray cluster."""
