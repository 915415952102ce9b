"""The conversion of the portal's JSON of a case into a listing. Pure."""
