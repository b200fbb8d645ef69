"""Unmodified Linux programs as guests, and their files."""
