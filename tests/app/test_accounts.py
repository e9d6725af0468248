import asyncio
import io
import os
import sys
import threading
import time
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import access as module
from app.access import Account, Accounts, add_account, ask_password, read_accounts


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """A hash that takes no time."""
    monkeypatch.setattr(module, "_COST", 2)
    monkeypatch.setattr(module, "FAILURE_SECONDS", 0.0)


def test_an_added_account_signs_in_with_its_password_alone(tmp_path):
    file = tmp_path / "accounts"
    assert add_account(file, Account.of("ann", "correct horse")) is False
    assert add_account(file, Account.of("bob", "battery staple", "admin")) is False
    accounts = read_accounts(file)
    assert accounts.verify("ann", "correct horse") and accounts.verify("bob", "battery staple")
    assert (
        not accounts.verify("ann", "battery staple")
        and not accounts.verify("ann", "")
        and not accounts.verify("eve", "x")
    )
    assert accounts.admins == {"bob"}
    assert asyncio.run(accounts.sign_in("ann", "correct horse")) and not asyncio.run(accounts.sign_in("ann", "wrong"))


def test_the_file_has_no_password_and_is_its_owners_alone(tmp_path):
    file = tmp_path / "accounts"
    add_account(file, Account.of("ann", "correct horse"))
    assert "correct" not in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    assert Account.of("ann", "correct horse").key != Account.of("ann", "correct horse").key  # by its salt


def test_a_new_password_replaces_the_old_one(tmp_path):
    file = tmp_path / "accounts"
    add_account(file, Account.of("ann", "correct horse"))
    assert add_account(file, Account.of("ann", "another one")) is True
    accounts = read_accounts(file)
    assert accounts.verify("ann", "another one") and not accounts.verify("ann", "correct horse")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
def test_a_file_that_others_may_read_is_refused(tmp_path, mode):
    file = tmp_path / "accounts"
    add_account(file, Account.of("ann", "correct horse"))
    os.chmod(file, mode)
    with pytest.raises(ValueError, match="others may read or write it"):
        read_accounts(file)


@pytest.mark.parametrize(
    "line", ["ann:user", "ann:root:scrypt:2:AAAAAAAAAAAAAAAA:AA", "ann:user:md5:2:AA:AA", "ann:user:scrypt:3:AAAA:AAAA"]
)
def test_a_malformed_line_is_named(tmp_path, line):
    file = tmp_path / "accounts"
    file.write_text(f"# a comment\n{line}\n")
    file.chmod(0o600)
    with pytest.raises(ValueError, match="accounts, line 2: expected name:role:scrypt"):
        read_accounts(file)


@settings(max_examples=60)
@given(st.text(max_size=80))
def test_any_other_text_is_one_sentence(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("accounts") / "accounts"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    file.chmod(0o600)
    with pytest.raises(ValueError):
        read_accounts(file)


@pytest.mark.parametrize(("name", "password"), [("", "long enough"), ("a:b", "long enough"), ("#a", "long enough")])
def test_names_that_the_file_cannot_hold_are_refused(name, password):
    with pytest.raises(ValueError, match="expected a name"):
        Account.of(name, password)


def test_short_passwords_are_refused():
    with pytest.raises(ValueError, match="at least 8 characters, got 5"):
        Account.of("ann", "short")


def test_a_program_gives_the_password_on_standard_input():
    with patch.object(sys, "stdin", io.StringIO("correct horse\nmore\n")):
        assert ask_password("ann") == "correct horse"


def test_an_unknown_name_takes_as_long_as_a_wrong_password():
    """Both hash once, so that the time does not say which names there are."""
    accounts = Accounts({"ann": Account.of("ann", "correct horse")})
    with patch.object(module, "_hash", wraps=module._hash) as hashed:
        accounts.verify("nobody", "x")
        accounts.verify("ann", "x")
    assert hashed.call_count == 2


def test_the_wait_for_wrong_passwords_holds_up_nobody_else():
    accounts = Accounts({"ann": Account.of("ann", "correct horse")})

    async def sign_in_among_wrong_ones() -> bool:
        wrong = [asyncio.create_task(accounts.sign_in(f"eve{i}", "wrong")) for i in range(6)]
        await asyncio.sleep(0)  # they are first
        correct = await asyncio.wait_for(accounts.sign_in("ann", "correct horse"), 20)
        for task in wrong:
            task.cancel()
        return correct

    verify = patch.object(Accounts, "verify", lambda self, name, password: password == "correct horse")
    with verify, patch.object(module, "FAILURE_SECONDS", 60):
        assert asyncio.run(sign_in_among_wrong_ones())


def test_two_passwords_are_checked_at_a_time_and_a_wrong_one_takes_longer():
    found, at_once, most = Accounts({"ann": Account.of("ann", "correct horse")}), [0], [0]
    two, lock = threading.Barrier(2), threading.Lock()

    def verify(self: Accounts, name: str, password: str) -> bool:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        two.wait(60)
        time.sleep(0.02)
        with lock:
            at_once[0] -= 1
        return False

    async def all_at_once() -> float:
        began = time.monotonic()
        await asyncio.gather(*(found.sign_in(f"eve{i}", "wrong") for i in range(8)))
        return time.monotonic() - began

    with patch.object(Accounts, "verify", verify), patch.object(module, "FAILURE_SECONDS", 0.5):
        assert asyncio.run(all_at_once()) >= 0.5 and most[0] == 2


@pytest.mark.parametrize(("names", "let_in"), [(["eve"] * 9, 4), ([f"eve{i}" for i in range(40)], 16)])
def test_few_sign_ins_wait_at_a_time(names: list[str], let_in: int):
    accounts = Accounts({"ann": Account.of("ann", "correct horse")})

    async def all_at_once() -> list[object]:
        return await asyncio.gather(*(accounts.sign_in(name, "wrong") for name in names), return_exceptions=True)

    with (
        patch.object(Accounts, "verify", lambda self, name, password: False),
        patch.object(module, "FAILURE_SECONDS", 0),
    ):
        answers = asyncio.run(all_at_once())
    assert answers.count(False) == let_in
    assert {getattr(answer, "status_code", 429) for answer in answers} == {429}
