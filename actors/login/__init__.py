"""The portal's token: its source, its lifetime, and its rejection."""
