"""Bags and films in, bags out."""
