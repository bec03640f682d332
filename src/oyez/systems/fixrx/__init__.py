"""`fixrx`: services, bookings and payments between users and vendors, with live chat."""
