"""`rez`: a shopping app with offers, orders, cart, support, group buying, store chat, feed and leaderboard."""
