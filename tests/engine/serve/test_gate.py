"""Who may come in: names, pages of other sites, tokens."""

import httpx
import msgspec
import pytest

from engine.api import WireError
from engine.serve.door import DoorOptions
from engine.serve.http import build_public_app


def client(service, **options):
    app = build_public_app(service, DoorOptions(**options).admission)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:8012")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8012", 200),
        ("localhost:8012", 200),
        ("LOCALHOST", 200),
        ("[::1]:8012", 200),
        ("127.0.0.1:9", 200),
        ("evil.example:8012", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8012", 403),
        ("", 403),
    ],
)
async def test_on_loopback_only_its_own_names_are_served(service, host, status):
    async with client(service) as http:
        response = await http.get("/v1/models", headers={"Host": host})
    assert response.status_code == status


async def test_with_a_token_the_name_does_not_matter(service):
    async with client(service, host="0.0.0.0", token="right") as http:
        headers = {"Host": "build.lan:8012", "Authorization": "Bearer right"}
        assert (await http.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:8012"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("token", ["", "right"])
async def test_pages_are_refused(service, scripted, headers, token):
    async with client(service, token=token) as http:
        response = await http.post("/infill", json={"prompt": "x"}, headers={**headers, "Authorization": f"Bearer {token}"})
    assert response.status_code == 403
    assert "--allow-origin" in response.json()["error"]["message"]
    assert scripted.requests == []
    assert "access-control-allow-origin" not in response.headers


async def test_a_browser_that_was_told_to_go_there_is_no_page(service):
    async with client(service) as http:
        assert (await http.get("/health", headers={"Sec-Fetch-Site": "none"})).status_code == 200


async def test_a_page_that_is_allowed_may_also_read(service):
    async with client(service, origins=("https://mine.example",), token="right") as http:
        asked = {"Origin": "https://mine.example", "Access-Control-Request-Method": "POST"}
        before = await http.options("/v1/completions", headers=asked)
        assert before.status_code == 204
        assert before.headers["access-control-allow-origin"] == "https://mine.example"
        assert "authorization" in before.headers["access-control-allow-headers"]
        openai = {**asked, "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,x-stainless-os"}
        assert "x-stainless-os" in (await http.options("/v1/completions", headers=openai)).headers["access-control-allow-headers"]
        stranger = await http.options("/v1/completions", headers={**openai, "Origin": "https://other.example"})
        assert (stranger.status_code, stranger.headers.get("access-control-allow-headers")) == (403, None)
        response = await http.get("/v1/models", headers={"Origin": "https://mine.example", "Authorization": "Bearer right"})
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == "https://mine.example"
        assert (await http.get("/v1/models", headers={"Origin": "https://mine.example"})).status_code == 401
        assert (await http.get("/v1/models", headers={"Origin": "https://other.example"})).status_code == 403


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/fim/completions", "/infill", "/health", "/v1/models", "/healthz", "/v1/status"])
async def test_every_path_asks_for_the_token_in_its_own_words(service, path):
    async with client(service, token="right") as http:
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic right"}, {"Authorization": "right"}):
            response = await http.get(path, headers=header)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        said = response.json()
    if path.startswith(("/healthz", "/v1/status")):
        assert msgspec.convert(said, WireError).type == "HostError"
    else:
        assert said["error"]["type"] == "authentication_error"
        assert "token" in said["error"]["message"]


async def test_the_scheme_may_be_written_small(service):
    async with client(service, token="right") as http:
        assert (await http.get("/health", headers={"Authorization": "bearer right"})).status_code == 200


async def test_what_rules_the_process_is_not_there(service):
    async with client(service, token="right") as http:
        response = await http.post("/v1/door", json={}, headers={"Authorization": "Bearer right"})
    assert response.status_code == 404
