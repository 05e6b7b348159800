"""Mirroring another hub: what is asked for and not here is fetched from it, checked and kept."""
