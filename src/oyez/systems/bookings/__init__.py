"""`bookings`: home services, with a namespace each for customers, partners and admins."""
