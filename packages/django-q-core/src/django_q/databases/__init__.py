"""Sessions and errors of databases, and statements for particular products."""
