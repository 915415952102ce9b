"""The portal's token and blocked logins, as rows. The login itself is in actors/login."""
