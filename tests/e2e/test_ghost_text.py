from lsp_memory import session_with
from scripted_backend import ScriptedBackend


async def test_first():
    async with session_with(ScriptedBackend("value"), "x = \ny = 2\n") as client:
        assert await client.texts(0, 4) == ["value"]
        client.insert(0, 4, "va", version=2)
        assert await client.texts(0, 6) == ["lue"]
        assert len(client.backend.requests) == 1
        print(client.statuses)
