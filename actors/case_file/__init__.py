"""The portal's JSON of a case, made into a listing. Pure."""
