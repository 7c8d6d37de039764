"""Models that run elsewhere, asked over an OpenAI-compatible API.

`engine` is what the client opens; `calls` puts one request and reads its answer; `endpoints` decides who is asked, and
how many requests are under way.
"""
