"""Pictures in and out: bytes, paths, PIL images and arrays become one upright picture, and a picture becomes a file."""
