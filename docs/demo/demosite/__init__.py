"""A small Django site whose tasks measure source files."""
