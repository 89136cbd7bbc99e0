"""A model run on pictures: sessions, runtimes, several looks, cost and speed."""
