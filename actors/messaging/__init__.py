"""Messages over Valkey: the broker, the messages between the steps, the shared clock."""
