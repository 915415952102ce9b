"""How people run Autos: starters of Procfiles, images, units."""
