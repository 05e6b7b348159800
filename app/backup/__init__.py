"""Backups: the database as of one moment and every object that it names, and the way back."""
