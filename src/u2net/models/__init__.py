"""Files of weights: how they are fed, what is known of them, where they come from."""

DEFAULT = "u2netp_distilled"
"""The model that is used where none is named: a packaged one, so that nothing is downloaded unasked."""
