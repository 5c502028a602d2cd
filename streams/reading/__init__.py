"""Records on their way in: fetches, what they unpack to, and readers that belong to no group."""
