"""The database as a broker for Django Q."""
