"""A server that speaks the OpenAI API with scripted answers and failures, to rehearse a run for free.

`script` decides what comes of a request, `server` puts it on the wire and counts. Nothing here is a model, and what it
says is no result.
"""
