"""What the operating system keeps: files and folders, and the process itself."""
