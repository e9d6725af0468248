import time
from types import SimpleNamespace

import pytest

from app.access import Access, Account, Accounts, Address, VisitorCache, check_reach, check_uploads, visitor_of_event

ANN = Account("ann", "admin", 2, b"", b"")


def request(username: str | None = None, **session: object) -> SimpleNamespace:
    return SimpleNamespace(username=username, request=SimpleNamespace(scope={"session": session}))


def hub(name: str, seconds: float = 60) -> SimpleNamespace:
    info = {"userinfo": {"preferred_username": name}, "expires_at": time.time() + seconds}
    return request(oauth_info=info)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_alone_nobody_signs_in(host):
    check_reach(Address(host), Access())


@pytest.mark.parametrize(
    "address",
    [
        Address("0.0.0.0"),
        Address("::"),
        Address("192.168.1.5"),
        Address(share=True),
        Address(domains=("vis.example.org",)),
    ],
)
def test_where_others_reach_the_studio_it_says_who_they_are(address):
    with pytest.raises(ValueError, match=r"others than you can reach the studio there; give --auth FILE .* --public"):
        check_reach(address, Access())
    check_reach(address, Access(public=True))
    check_reach(address, Access(accounts=Accounts({"ann": ANN})))


def test_public_and_accounts_exclude_each_other():
    with pytest.raises(ValueError, match="give one of them"):
        check_reach(Address(), Access(public=True, accounts=Accounts({"ann": ANN})))


def test_names_that_requests_may_have_as_host():
    assert Address().host_names == {"127.0.0.1"}
    assert Address("0.0.0.0").host_names is None and Address(share=True).host_names is None
    assert Address("0.0.0.0", domains=("a.example",)).host_names == {"a.example", "0.0.0.0"}


def test_in_public_labels_are_changed_by_those_who_have_signed_in():
    public, signs_in = Access(public=True), Access(public=True, hub=True)
    with pytest.raises(PermissionError, match="labels can be looked at, not changed"):
        public.check_review("")
    with pytest.raises(PermissionError, match="sign in to decide"):
        signs_in.check_review("")
    signs_in.check_review("ann")
    Access().check_review("")


def test_in_public_only_admins_open_download_and_map():
    public = Access(public=True, hub=True, admins=frozenset({"ann"}))
    with pytest.raises(PermissionError, match="opening data sets is left to those who run it"):
        public.check_host("opening data sets", hub("eve"))
    with pytest.raises(PermissionError):
        public.check_host("opening data sets", request())
    public.check_host("opening data sets", hub("ann"))
    Access().check_host("opening data sets", request())


def test_names_are_those_of_the_sign_in():
    assert Access().name(request("ann")) == "ann" and Access().name(request()) == ""
    signs_in = Access(hub=True)
    assert signs_in.name(hub("ann")) == "ann" and signs_in.name(hub("ann", seconds=-1)) == ""
    assert signs_in.name(request("ann")) == "" and not Access().signs_in and signs_in.signs_in


def test_only_regular_files_of_uploads_are_files(tmp_path):
    for name in (f"{'a' * 64}/clip.mp4", "runs/result.json", f"deep_links/{'b' * 64}/state.json", "clip.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    upload = tmp_path / ("a" * 64) / "clip.mp4"
    check_uploads([{"path": str(upload), "meta": {"_type": "gradio.FileData"}}, "text", {"path": None}], tmp_path)
    others = (
        tmp_path,
        upload.parent,
        tmp_path / "runs" / "result.json",
        tmp_path / "deep_links" / ("b" * 64) / "state.json",
        tmp_path / "clip.mp4",
        f"{upload.parent}/../clip.mp4",
        upload.with_name("gone.mp4"),
        "x" * 5000,
        "a\0b",
        "",
    )
    for path in others:
        with pytest.raises(ValueError, match="expected an uploaded file, got another file or a folder"):
            check_uploads([[{"value": {"path": str(path)}}]], tmp_path)
    with pytest.raises(ValueError, match="got an address"):
        check_uploads({"path": "https://example.org/a.mp4"}, tmp_path)


def test_a_visitor_is_counted_by_the_name_else_as_the_request_is():
    counted = SimpleNamespace(username=None, request=SimpleNamespace(scope={"state": {"counted_as": "10.0.0.1"}}))
    assert visitor_of_event(counted) == "10.0.0.1"
    counted.username = "ann"
    assert visitor_of_event(counted) == "name ann"
    assert visitor_of_event(hub("carl")) == "name carl"
    assert visitor_of_event(SimpleNamespace()) == ""


def test_somebody_with_many_values_drops_none_of_others():
    cache: VisitorCache[int] = VisitorCache(4)
    cache.put("his", 0, "bob")
    for number in range(20):
        cache.put(f"hers {number}", number, "ann")
    assert cache.get("his") == 0
    assert [cache.get(f"hers {number}") for number in (16, 17, 18, 19)] == [None, 17, 18, 19]


def test_who_has_most_makes_room_for_others():
    cache: VisitorCache[int] = VisitorCache(4)
    for number in range(4):
        cache.put(f"hers {number}", number, "ann")
    assert cache.get("hers 0") == 0  # used: the least recently used one is dropped
    assert cache.put("his", 5, "bob") == ["hers 1"]
    assert cache.put("carl's", 6, "carl") == ["hers 2"]


def test_a_value_that_is_replaced_stays_its_first_visitors_and_drops_nothing():
    cache: VisitorCache[int] = VisitorCache(2)
    cache.put("his", 1, "bob")
    cache.put("hers", 2, "ann")
    assert cache.put("his", 3, "ann") == [] and cache.get("his") == 3
    assert cache.put("hers too", 4, "ann") == ["hers"]
    cache.drop("his")
    cache.drop("his")
    assert cache.get("his") is None


def test_of_as_many_visitors_as_values_the_least_recently_used_is_dropped():
    cache: VisitorCache[int] = VisitorCache(2)
    for name in ("ann", "bob", "carl"):
        cache.put(name, 0, name)
    assert cache.get("ann") is None and cache.get("bob") == 0
