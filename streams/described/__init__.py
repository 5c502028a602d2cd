"""Topics and messages as machines read them: AsyncAPI, and the JSON Schemas of the messages."""
