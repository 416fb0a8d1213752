"""What an operator asks of a server, as far as a database can answer."""
