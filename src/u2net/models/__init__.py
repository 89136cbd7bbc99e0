"""Files of weights: how they are fed, what is known of them, where they come from."""
