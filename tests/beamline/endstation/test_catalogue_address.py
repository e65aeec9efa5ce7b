"""The address of the catalogue is read as it is meant, or refused in one line that never has its password."""

import os

import pytest

from beamline.endstation.catalogue_address import CatalogueAddress, parse_address
from beamline.endstation.config import load_reduction_config
from beamline.errors import BeamlineError
from beamline.operations.check import check

SECRET = "tops3cret"

ADDRESSES = {
    "postgresql://u@h/d": CatalogueAddress("u", "h", "d"),
    "postgresql://u@h:5433/d?sslmode=verify-full": CatalogueAddress("u", "h", "d", 5433, "verify-full"),
    "postgresql://u@[::1]:5433/d": CatalogueAddress("u", "::1", "d", 5433),
    "postgresql://u@/d?host=/run/postgresql": CatalogueAddress("u", "/run/postgresql", "d"),
    "postgresql://u@/d?host=/run/pg&port=5433": CatalogueAddress("u", "/run/pg", "d", 5433),
    "postgresql://u@h/d?passfile=/etc/pass": CatalogueAddress("u", "h", "d", passfile="/etc/pass"),
}
WRONG = {
    f"mysql://u:{SECRET}@h/d": "expected 'sqlite' or 'postgresql://USER@HOST/DATABASE'",
    f"u:{SECRET}@h/d": "expected 'sqlite' or 'postgresql://USER@HOST/DATABASE'",
    f"postgresql://u:{SECRET}@h:port/d": "cannot be taken apart",
    f"postgresql://u:{SECRET}@[h/d": "cannot be taken apart",
    f"postgresql://:{SECRET}@h/d": "has no user",
    f"postgresql://u:{SECRET}@h": "has no database",
    f"postgresql://u:{SECRET}@/d": "expected one host",
    f"postgresql://u:{SECRET}@h/d?host=/run": "expected one host",
    f"postgresql://u:{SECRET}@h/d?sslmode=on": "sslmode is 'on', expected one of disable, prefer, require",
    f"postgresql://u:{SECRET}@h/d?timeout=5": "unknown option 'timeout'; there are host, passfile, port, sslmode",
    f"postgresql://u:{SECRET}@h/d?passfile=pass": "passfile is 'pass', expected an absolute path",
    f"postgresql://u:{SECRET}@/d?host=/run&port=0": "port is '0', expected a number from 1 to 65535",
    f"postgresql://u:{SECRET}%3A@h/d": "its password has a colon",
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_is_read_and_written_alike(text):
    assert parse_address(text) == (ADDRESSES[text], "")
    assert str(ADDRESSES[text]) == text
    with_password = text.replace("u@", f"u:{SECRET}%40@")
    assert parse_address(with_password) == (ADDRESSES[text], f"{SECRET}@")


def test_the_catalogue_may_stay_in_the_data_folder():
    assert parse_address("sqlite") == (None, "")


def configured(folder, text, mode=0o600):
    path = folder / "endstation.toml"
    path.write_text(f"[storage]\ncatalogue = {text}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_address_is_refused_without_showing_its_password(tmp_path, text):
    with pytest.raises(BeamlineError) as caught:
        load_reduction_config(configured(tmp_path, f'"{text}"'))
    assert f"endstation.toml: storage.catalogue: {WRONG[text]}" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused_without_showing_it(tmp_path):
    with pytest.raises(BeamlineError, match="catalogue: expected 'sqlite' or") as caught:
        load_reduction_config(configured(tmp_path, f'["postgresql://u:{SECRET}@h/d"]'))
    assert SECRET not in str(caught.value)


def test_a_configuration_with_a_password_that_others_may_read_is_refused(tmp_path):
    text = f'"postgresql://u:{SECRET}@h/d"'
    with pytest.raises(BeamlineError, match="others may read the file, whose mode is 0640: expected 0600") as caught:
        load_reduction_config(configured(tmp_path, text, 0o640))
    assert SECRET not in str(caught.value)
    loaded = load_reduction_config(configured(tmp_path, text))
    assert SECRET not in repr(loaded)
    assert SECRET not in str(loaded.model_dump())


def test_check_says_that_the_server_does_not_answer(tmp_path):
    simulated = load_reduction_config(None).path.read_text()
    path = tmp_path / "endstation.toml"
    path.write_text(
        f'{simulated}\n[storage]\ndata_dir = "data"\ncatalogue = "postgresql://u:{SECRET}@/d?host={tmp_path}"\n'
    )
    os.chmod(path, 0o600)
    (problem,) = check(path)["problems"]
    where = f"{path}: storage.catalogue: postgresql://u@/d?host={tmp_path}"
    assert problem.startswith(f"{where}: does not answer: [Errno 2] No such file")
    assert list(tmp_path.iterdir()) == [path]
