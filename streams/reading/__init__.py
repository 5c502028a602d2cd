"""Records on their way in: fetches, their unpacking, and readers that belong to no group."""
