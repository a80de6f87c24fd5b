"""Database broker for Django Q."""
