"""rembg's module `rembg.session_factory`: `new_session` by the name that it has there."""

from u2net.inference.open import new_session

__all__ = ["new_session"]
