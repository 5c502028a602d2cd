"""The API as machines and people read it: the words for routes, OpenAPI, and the pages."""
