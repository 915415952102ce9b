"""The portal's token and refused logins, as rows."""
