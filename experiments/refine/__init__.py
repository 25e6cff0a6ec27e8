"""Trains the level head of a student again, on two CPU cores, and everything else of it stays."""
