"""The scheduled jobs of `qscrap`, by the kind with which they are scheduled."""

from collections.abc import Mapping

from oyez.service.outbox.jobs import Job
from oyez.systems.qscrap import disputes, payouts, requests, subscriptions

JOBS: Mapping[str, Job] = {
    requests.EXPIRY: requests.expire_request,
    payouts.SCHEDULING: payouts.announce_payout,
    payouts.DUE: payouts.pay_payout,
    payouts.HOLD: payouts.hold_disputed_payout,
    payouts.RELEASE: payouts.release_held_payout,
    disputes.TIMEOUT: disputes.time_out_dispute,
    subscriptions.WARNING: subscriptions.warn_garage,
}
