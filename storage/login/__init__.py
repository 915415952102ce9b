"""The portal's token and blocked logins, as rows."""
