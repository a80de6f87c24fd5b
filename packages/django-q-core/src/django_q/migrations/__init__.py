"""The tables of Django Q, those of the public editions included."""
