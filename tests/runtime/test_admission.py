"""Admission: which clients are admitted, and their first rooms."""

import pytest

from tests.support.market import Market


async def test_a_client_joins_its_own_rooms() -> None:
    market = Market()
    assert (await market.connect("u1")).rooms == {"user_u1", "offers:u1"}
    assert (await market.connect("u2", role="operations")).rooms == {"user_u2", "offers:u2"}


async def test_the_identity_comes_from_the_token() -> None:
    peer = await Market().connect("u1", role="garage", garage_id="g1", exp=2e9)
    identity = peer.socket.data.identity
    assert (identity.subject, identity.role, identity.claims["garage_id"]) == ("u1", "garage", "g1")
    assert peer.socket.expires_at == 2e9


async def test_user_attributes_open_rooms() -> None:
    market = Market()
    market.shops["g"] = "s7"
    assert (await market.connect("g", role="garage", shop_id="s666")).rooms == {"user_g", "shop:s7"}
    assert (await market.connect("h", role="garage", shop_id="s7")).rooms == {"user_h"}


async def test_only_attributes_of_the_namespace_are_resolved() -> None:
    market = Market()
    await market.connect("u1")
    await market.connect("u1", "/back", role="operations")
    assert market.resolved == []


@pytest.mark.parametrize("role", [None, ""])
async def test_a_token_without_a_role_has_the_default_one(role: str | None) -> None:
    peer = await Market().connect("u1", role=role)
    assert peer.socket.data.identity.role == "customer"


async def test_the_contracts_roles_in_a_list_count() -> None:
    """Each of them gives rights. Identity providers put the roles of other applications into the same list."""
    market = Market()
    both = ["offline_access", "operations", "garage", 7]
    peer = await market.connect("o1", role=both, garage_id="g1")
    assert peer.socket.data.identity.roles == ("garage", "operations")
    assert peer.socket.data.identity.role == "garage"
    assert (await market.connect("o1", "/back", role=both)).socket.data.identity.role == "operations"
    await market.expect_refused("forbidden_role", "o1", "/back", role=["garage", "customer"])
    for role in ([], ["offline_access"]):
        identity = (await market.connect("u1", role=role)).socket.data.identity
        assert (identity.role, identity.roles) == ("customer", ())


@pytest.mark.parametrize("role", ["emperor", 7, {"a": 1}, {}, 0, False])
async def test_an_unknown_role_is_refused(role: object) -> None:
    message = await Market().expect_refused("forbidden_role", role=role)
    assert message == "The token's role is none of customer, garage, operations."


async def test_without_a_token() -> None:
    message = await Market().expect_refused("token_missing", "")
    assert message.startswith("No token was given. Looked for in: `auth.token` of the Socket.IO client; header")


async def test_with_a_bad_token() -> None:
    await Market().expect_refused("token_invalid", "bad")


async def test_a_namespace_of_another_role() -> None:
    market = Market()
    assert (await market.connect("o1", "/back", role="operations")).rooms == {"board"}
    message = await market.expect_refused("forbidden_role", namespace="/back", role="garage")
    assert message == "/back is only for a client that has role `operations`."


async def test_a_subject_cannot_have_the_name_of_another_kind_of_room() -> None:
    await Market().expect_refused("unknown_room", "operations")


@pytest.mark.parametrize("gateways", [["offers"], "offers", " offers , offers", ["offers", "offers"]])
async def test_a_client_may_choose_gateways(gateways: object) -> None:
    peer = await Market().connect("u1", auth={"gateways": gateways})
    assert peer.rooms == {"user_u1", "offers:u1"}


@pytest.mark.parametrize("gateways", [None, "", [], ","])
async def test_without_a_choice_all_gateways_apply(gateways: object) -> None:
    market = Market()
    market.shops["g"] = "s7"
    peer = await market.connect("g", auth={"gateways": gateways}, role="garage")
    assert peer.rooms == {"user_g", "shop:s7"}


async def test_gateways_in_the_query() -> None:
    market = Market()
    message = await market.expect_refused("unknown_gateway", query="gateways=offers,nope")
    assert message == "There is no gateway 'nope'. There are shops, offers."
    assert (await market.connect("u1", query="gateways=offers")).rooms == {"user_u1", "offers:u1"}


async def test_a_gateway_of_another_role() -> None:
    market = Market()
    message = await market.expect_refused("forbidden_role", auth={"gateways": ["offers", "shops"]})
    assert message == "Gateway shops is only for a client that has role `garage`."
    await market.expect_refused("forbidden_role", auth={"gateways": "offers"}, role="garage")


async def test_an_unknown_gateway_is_refused_before_a_forbidden_one() -> None:
    await Market().expect_refused("unknown_gateway", auth={"gateways": ["shops", "nope"]})


async def test_a_gateway_without_a_room_names_the_missing_attribute() -> None:
    market = Market()
    message = await market.expect_refused("no_room_in_gateway", auth={"gateways": ["shops"]}, role="garage")
    assert message == (
        "Gateway shops has no room for you: the server found no shop of this garage."
        " Have it created, then connect again."
    )
    assert (await market.connect("u1", role="garage")).rooms == {"user_u1"}


@pytest.mark.parametrize("gateways", [7, 0, False, True, {}, {"a": 1}, [1], [[]], ["offers", None]])
async def test_gateways_that_are_not_names(gateways: object) -> None:
    await Market().expect_refused("invalid_data", auth={"gateways": gateways})


async def test_namespaces_without_gateways_ignore_the_choice() -> None:
    peer = await Market().connect("o", "/back", auth={"gateways": "anything"}, role="operations")
    assert peer.rooms == {"board"}
