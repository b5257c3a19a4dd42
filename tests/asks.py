"Functions that answer a prompt without a server, for the closed loops"

import asyncio


async def four_tokens(prompt):
    "Four tokens, 20 ms each; doesn't report the tokens of the prompt"
    for i in range(4):
        await asyncio.sleep(0.02)
        yield i + 1, None
