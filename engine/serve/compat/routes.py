"""The routes for tools that do not speak our own protocol. Knows which path belongs to which protocol."""

from __future__ import annotations

import asyncio
import functools

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from engine.serve.compat import fim, llama_cpp, openai
from engine.serve.compat.serving import serve
from engine.serve.service import EngineService
from engine.serve.wire import json_response

_READERS = {
    "/v1/completions": openai.read_completion,
    "/v1/fim/completions": fim.read_fim,
    "/infill": llama_cpp.read_infill,
    "/completion": llama_cpp.read_completion,
}


def compat_routes(service: EngineService) -> list[Route]:
    """One route a path. The calls of all of them take turns before they come to the scheduler, which serves first come first: so an
    editor waits for one of them at most, however many a tool sends at once."""
    turn = asyncio.Lock()

    async def models(request: Request) -> Response:
        return json_response(openai.models(service))

    async def health(request: Request) -> Response:
        content, status = llama_cpp.health(service)
        return json_response(content, status)

    def ask(path: str) -> Route:
        reader = functools.partial(_READERS[path], service)

        async def endpoint(request: Request) -> Response:
            return await serve(request, service, reader, turn)

        return Route(path, endpoint, methods=["POST"])

    return [
        *(ask(path) for path in _READERS),
        Route("/v1/models", models, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
    ]
