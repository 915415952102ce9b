"""The files in deploy/, against the schemas of the programs that read them."""
