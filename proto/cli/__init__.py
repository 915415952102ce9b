"""The command `autos`: what people and scripts call Autos with."""
