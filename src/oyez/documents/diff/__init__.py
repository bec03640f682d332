"""What a new contract changes for those who use the old one: two descriptions compared."""
