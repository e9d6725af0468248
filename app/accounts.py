"""Names and passwords of the people who may use a studio: `--auth FILE`, a line each with a scrypt hash.

`tevit studio --auth FILE --add-user NAME` adds one, or changes its password.
"""

import asyncio
import base64
import getpass
import hashlib
import hmac
import os
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.exceptions import HTTPException

from tevit.io.files import atomic
from tevit.review.reviewers import MAX_NAME

MIN_PASSWORD = 8  # characters
ROLES = ("user", "admin")
FAILURE_SECONDS = 0.5  # that a wrong password takes, beside its hash
MAX_WAITING, MAX_WAITING_OF_NAME = 16, 4  # sign-ins that are not checked yet: of all names, of one
# OWASP's second choice of 2023: 64 MB and some 0.2 s for each attempt.
_COST, _BLOCK, _PARALLEL = 1 << 16, 8, 2
_MAX_COST = 1 << 20
HEADER = "# Accounts of TeViT Studio: name, role (user, admin) and hash of the password. Change it with --add-user.\n"


@dataclass(frozen=True)
class Account:
    """role: of ROLES. salt, key: of scrypt with `cost`."""

    name: str
    role: str
    cost: int
    salt: bytes
    key: bytes

    @classmethod
    def of(cls, name: str, password: str, role: str = "user") -> "Account":
        """An account with a new salt. Raises: ValueError for a name or a password that is not allowed."""
        if not name or len(name) > MAX_NAME or not name.isprintable() or ":" in name or name != name.strip():
            raise ValueError(f"expected a name of at most {MAX_NAME} printable characters without ':', got {name!r}")
        if name.startswith("#"):
            raise ValueError(f"expected a name that does not begin with #, got {name!r}")
        if len(password) < MIN_PASSWORD:
            raise ValueError(f"expected a password of at least {MIN_PASSWORD} characters, got {len(password)}")
        salt = secrets.token_bytes(16)
        return cls(name, role, _COST, salt, _hash(password, salt, _COST))

    def accepts(self, password: str) -> bool:
        """Whether it is this account's password; takes some 0.2 s in any case."""
        return hmac.compare_digest(_hash(password, self.salt, self.cost), self.key)


def _hash(password: str, salt: bytes, cost: int) -> bytes:
    memory = 128 * _BLOCK * (cost + _PARALLEL + 2) + 1_000_000
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=_BLOCK, p=_PARALLEL, maxmem=memory, dklen=32)


@dataclass(frozen=True)
class Accounts:
    """All accounts of a file, by name."""

    by_name: Mapping[str, Account]
    _checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2), compare=False)
    _waiting: Counter[str] = field(default_factory=Counter, compare=False, repr=False)  # sign-ins not checked yet

    @property
    def admins(self) -> frozenset[str]:
        """The names that may undo others' decisions."""
        return frozenset(name for name, account in self.by_name.items() if account.role == "admin")

    def verify(self, name: str, password: str) -> bool:
        """Whether the password is the name's; as slow for a name that is not there."""
        account = self.by_name.get(name)
        if account is None:
            _hash(password, b"0" * 16, _COST)
            return False
        return account.accepts(password)

    async def sign_in(self, name: str, password: str) -> bool:
        """`verify` outside of the event loop, two at a time; the answer comes later where it is wrong.

        Raises: HTTPException (429) where too many wait.
        """
        name = name[: MAX_NAME + 1]
        if self._waiting[name] >= MAX_WAITING_OF_NAME or self._waiting.total() >= MAX_WAITING:
            raise HTTPException(429, "Too many people sign in at the moment: try again in some seconds.")
        self._waiting[name] += 1
        try:
            async with self._checking:
                correct = await asyncio.to_thread(self.verify, name, password[:1000])
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]
        if not correct:  # others are checked meanwhile
            await asyncio.sleep(FAILURE_SECONDS)
        return correct


def read_accounts(path: str | os.PathLike) -> Accounts:
    """Raises: OSError; ValueError for a file that others may read, for a malformed line, and without any account."""
    _check_mode(Path(path))
    accounts: dict[str, Account] = {}
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        account = _from_line(line, f"{path}, line {number}")
        if account.name in accounts:
            raise ValueError(f"{path}, line {number}: {account.name!r} stands there twice, expected every name once")
        accounts[account.name] = account
    if not accounts:
        raise ValueError(f"{path} has no accounts: add one with --add-user NAME")
    return Accounts(accounts)


def add_account(path: str | os.PathLike, account: Account) -> bool:
    """Write an account into the file, which is made where it is missing; returns whether the name was there.

    Raises: OSError, ValueError, as `read_accounts`.
    """
    file = Path(path)
    known = dict(read_accounts(file).by_name) if file.exists() and file.stat().st_size else {}
    replaced = account.name in known
    known[account.name] = account
    text = HEADER + "".join(f"{_to_line(each)}\n" for each in known.values())
    with atomic(file, mode=0o600) as part:
        part.write_text(text, encoding="utf-8")
    return replaced


def ask_password(name: str) -> str:
    """Of the terminal, twice; else the first line of standard input. Raises: ValueError where the two differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    if getpass.getpass("Once more: ") != password:
        raise ValueError("the two passwords differ: nothing was written")
    return password


def _check_mode(file: Path) -> None:
    if os.name == "posix" and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        raise ValueError(f"{file}: others may read or write it (mode {mode:o}): chmod 600 {file}")


def _to_line(account: Account) -> str:
    salt, key = (base64.b64encode(value).decode() for value in (account.salt, account.key))
    return f"{account.name}:{account.role}:scrypt:{account.cost}:{salt}:{key}"


def _from_line(line: str, where: str) -> Account:
    try:
        name, role, method, cost, salt, key = line.split(":")
        account = Account(name, role, int(cost), base64.b64decode(salt, validate=True), base64.b64decode(key))
    except ValueError:
        raise ValueError(f"{where}: expected name:role:scrypt:cost:salt:key, as --add-user writes it") from None
    valid_cost = 1 < account.cost <= _MAX_COST and account.cost & (account.cost - 1) == 0
    if role not in ROLES or method != "scrypt" or not valid_cost or len(account.key) != 32 or len(account.salt) < 8:
        raise ValueError(f"{where}: expected name:role:scrypt:cost:salt:key, as --add-user writes it")
    return account
