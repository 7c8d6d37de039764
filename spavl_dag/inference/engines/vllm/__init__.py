"""The `vllm` engine: vLLM's offline engine in a process of its own.

`engine` is this side: prompts to tokens, tokens to texts, and what happens when the process dies. `worker` is the other
side, with `backend` for vLLM itself; `messages` is what they say to each other.
"""
