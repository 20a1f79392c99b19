"""Indexes event photos by the faces on them, and finds the photos of one face."""
