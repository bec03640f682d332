"""`oyez new`: a starting project, and a contract written from an event document."""
