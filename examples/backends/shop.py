"""A shop whose back end is written in another language: only the contract is here.

Run it with `oyez serve shop.py`, and the settings `OYEZ_BACKEND_SHOP_URL` and `OYEZ_BACKEND_SHOP_SECRET`.
"""

from oyez.contract import Backend, CamelCommand, CamelPayload, Contract, Id, Money, own, role
from oyez.service.system import System

shop = Backend("shop")

contract = Contract("shop", roles=("buyer", "seller"), default_role="buyer", handled_by=shop)
contract.refusal("offer_taken", "Another buyer was faster.")

root = contract.namespace("/", admitted_by=shop, notifies=shop)
users = root.room("user:{userId}", members=own("userId", claim="sub"), on_connect=True)
sellers = root.room("sellers", members=role("seller"), on_connect=True)


@root.event("offer:new", to=[users.of("buyerId")], example={"offerId": "o-1", "buyerId": "ada", "price": 12.5})
class OfferNew(CamelPayload):
    """A seller has made an offer to a buyer."""

    offer_id: Id
    buyer_id: Id
    price: Money


@root.event("offer:accepted", to=[sellers], example={"offerId": "o-1", "buyerId": "ada"})
class OfferAccepted(CamelPayload):
    """A buyer has accepted an offer."""

    offer_id: Id
    buyer_id: Id


class Accepted(CamelPayload):
    """The answer to `offer:accept`."""

    order_id: Id


@root.command("offer:accept", who=role("buyer"), reply=Accepted)
class AcceptOffer(CamelCommand):
    """Accept an offer."""

    offer_id: Id


system = System(contract=contract)
