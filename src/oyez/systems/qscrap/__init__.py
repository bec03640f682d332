"""`qscrap`: a car-parts marketplace: requests, bids, orders, quality control, disputes, payouts, tickets."""
