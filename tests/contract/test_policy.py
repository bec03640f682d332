"""Rules: their verdicts, their entitlements and their texts."""

import pytest

from oyez.contract import Contract, Identity, anyone, member, not_role, own, resolved, role
from oyez.contract.policy import Rule, Values, Verdict, one_of
from oyez.errors import RefusedError

YES, NO, IF_MEMBER = Verdict.YES, Verdict.NO, Verdict.IF_MEMBER

ALICE = Identity(subject="alice", role="garage", claims={"sub": "alice", "garage_id": "g1", "number": 7, "yes": True})
BOB = Identity(subject="bob", role="customer", claims={"userId": "bob", "shop_id": "s1"}, attributes={"shop": "s9"})


@pytest.mark.parametrize(
    ("rule", "identity", "values", "verdict"),
    [
        (own("garage_id"), ALICE, {"garage_id": "g1"}, YES),
        (own("garage_id"), ALICE, {"garage_id": "g2"}, NO),
        (own("garage_id"), ALICE, {}, NO),
        (own("garage_id"), BOB, {"garage_id": ""}, NO),
        (own("number"), ALICE, {"number": "7"}, YES),
        (own("yes"), ALICE, {"yes": "True"}, NO),
        (own("userId"), ALICE, {"userId": "alice"}, YES),
        (own("sub"), BOB, {"sub": "bob"}, YES),
        (own("supplierUserId", claim="sub"), BOB, {"supplierUserId": "bob"}, YES),
        (resolved("shop_id", "shop"), BOB, {"shop_id": "s9"}, YES),
        (resolved("shop_id", "shop"), BOB, {"shop_id": "s1"}, NO),
        (resolved("shop_id", "shop"), ALICE, {"shop_id": "s9"}, NO),
        (role("garage", "operations"), ALICE, {}, YES),
        (role("garage"), BOB, {}, NO),
        (not_role("garage"), ALICE, {}, NO),
        (not_role("garage"), BOB, {}, YES),
        (member(), BOB, {}, IF_MEMBER),
        (anyone(), BOB, {}, YES),
        (role("customer") & member(), BOB, {}, IF_MEMBER),
        (role("garage") & member(), BOB, {}, NO),
        (anyone() & role("customer"), BOB, {}, YES),
        (one_of([role("garage"), member()]), BOB, {}, IF_MEMBER),
        (one_of([role("customer"), member()]), BOB, {}, YES),
        (one_of([role("garage"), own("sub")]), BOB, {"sub": "eve"}, NO),
        (one_of([]), BOB, {}, NO),
    ],
)
def test_decisions(rule: Rule, identity: Identity, values: Values, verdict: Verdict) -> None:
    assert rule.decide(identity, values) is verdict


@pytest.mark.parametrize(
    ("rule", "identity", "entitlements"),
    [
        (own("garage_id"), ALICE, [{"garage_id": "g1"}]),
        (own("garage_id"), BOB, []),
        (own("a", "sub") & own("b", "garage_id"), ALICE, [{"a": "alice", "b": "g1"}]),
        (own("userId") & role("customer"), ALICE, []),
        (one_of([own("garage_id"), role("garage")]), ALICE, [{"garage_id": "g1"}, {}]),
        (resolved("shop_id", "shop"), BOB, [{"shop_id": "s9"}]),
        (resolved("shop_id", "shop"), ALICE, []),
        (member(), ALICE, [{}]),
        (one_of([]), ALICE, []),
    ],
)
def test_entitlements(rule: Rule, identity: Identity, entitlements: list[Values]) -> None:
    assert rule.entitlements(identity) == entitlements


def test_a_claim_does_not_replace_a_user_attribute() -> None:
    pretender = Identity(subject="eve", role="garage", claims={"shop": "s9", "shop_id": "s9"})
    assert resolved("shop_id", "shop").decide(pretender, {"shop_id": "s9"}) is NO


def test_user_id_means_the_verified_subject_whatever_else_the_token_says() -> None:
    identity = Identity(subject="eve", role="customer", claims={"sub": "eve", "userId": "alice"})
    assert own("userId").decide(identity, {"userId": "alice"}) is NO


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (own("userId"), "is the user {userId}"),
        (own("garage_id"), "has {garage_id} as `garage_id` in the token"),
        (resolved("shop_id", "shop"), "has {shop_id} as `shop` on the server"),
        (role("a", "b"), "has role `a` or `b`"),
        (not_role("a"), "has another role than `a`"),
        (role("a") & member(), "has role `a` and is a member of the room"),
        (one_of([own("sub"), role("a")]), "is the user {sub}, or has role `a`"),
        (anyone(), "is signed in"),
    ],
)
def test_the_texts_of_rules(rule: Rule, text: str) -> None:
    assert rule.text == text


def test_names_in_the_membership_table() -> None:
    contract = Contract("c", roles=("garage", "customer"), subjects={"garage": "garage_id", "desk": "number"})
    assert contract.subjects_of(ALICE) == {"user:alice", "role:garage", "garage:g1", "desk:7"}
    assert contract.subjects_of(BOB) == {"user:bob", "role:customer"}


def test_an_id_that_is_a_whole_number() -> None:
    assert Identity(subject="42", role="user").number == 42
    for other in ("042", "ada", "4.0", "9" * 17, "guest:x", "٤"):
        with pytest.raises(RefusedError, match="is not a whole number"):
            assert Identity(subject=other, role="user").number
