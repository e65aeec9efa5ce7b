"""Who may do what: keys are made once and are private; without one nothing is answered, with one what its role may."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from beamline.errors import BeamlineError
from beamline.serve.access import LARGEST_REQUEST, REFUSALS, KeyRequired
from beamline.serve.keys import load_keys


def test_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path):
    path = tmp_path / "keys.toml"
    first = load_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path) == first
    assert [(user.name, user.role) for user in first.users] == [(role, role) for role in ("viewer", "user", "operator")]
    secrets = [user.key for user in first.users] + list(first.internal.values())
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret) >= 32 for secret in secrets)
    assert first.user_of(first.users[1].key).name == "user"
    assert first.user_of("") is first.user_of(first.users[1].key[:-1]) is None
    path.chmod(0o644)
    with pytest.raises(BeamlineError, match="others can read it"):
        load_keys(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda text: text.replace('role = "user"', 'role = "boss"'),
            "role 'boss', expected one of viewer",
        ),
        (lambda text: text.replace("[users.user]", "[users.user]\nwrong"), "not valid TOML"),
        (lambda text: text.replace("[internal]", "[other]"), "'internal' is missing"),
        (
            lambda text: text + '[users.anna]\nrole = "user"\nkey = "short"\n',
            "its key has to be 32 letters",
        ),
    ],
)
def test_keys_that_are_not_as_they_should_be_are_named(tmp_path, change, said):
    path = tmp_path / "keys.toml"
    load_keys(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(BeamlineError, match=said):
        load_keys(path)


@pytest.fixture
def keys(tmp_path):
    return load_keys(tmp_path / "keys.toml")


@pytest.fixture
def client(keys):
    def seen(request):
        return PlainTextResponse(str(sorted(request.headers)))

    routes = [Route("/{path:path}", seen, methods=["GET", "POST"])]
    guarded = KeyRequired(Starlette(routes=routes), keys, role="user", open_to_all=("/about",), closed=("/docs",))
    return TestClient(guarded)


def bearing(keys, role, kind="Apikey"):
    return {"authorization": f"{kind} {next(user.key for user in keys.users if user.role == role)}"}


def test_only_a_key_of_the_role_opens_and_the_application_does_not_see_it(client, keys):
    assert client.get("/data").status_code == 401
    assert client.get("/data", headers=bearing(keys, "viewer")).status_code == 403
    for role in ("user", "operator"):
        for kind in ("Apikey", "Bearer"):
            answer = client.get("/data", headers=bearing(keys, role, kind))
            assert answer.status_code == 200
            assert "authorization" not in answer.text
    assert client.get("/about").status_code == client.get("/healthz").status_code == 200
    assert client.get("/docs", headers=bearing(keys, "operator")).status_code == 404


def test_a_key_in_an_address_is_refused_since_addresses_are_logged(client, keys):
    key = bearing(keys, "user")["authorization"].split()[1]
    assert client.get(f"/data?api_key={key}").status_code == 400


def test_keys_cannot_be_tried_out(client, keys):
    for _ in range(REFUSALS):
        assert client.get("/data", headers={"authorization": "Apikey " + "0" * 48}).status_code == 401
    assert client.get("/data", headers=bearing(keys, "user")).status_code == 429


def test_what_is_sent_is_limited(client, keys):
    headers = bearing(keys, "user")
    assert client.post("/data", content=b"x" * LARGEST_REQUEST, headers=headers).status_code == 200
    assert client.post("/data", content=b"x" * (LARGEST_REQUEST + 1), headers=headers).status_code == 413
    assert client.post("/data", content=iter([b"x"]), headers=headers).status_code == 411
