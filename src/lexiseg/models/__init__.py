"""Published networks, one a file, and what finds and checks their weights."""
