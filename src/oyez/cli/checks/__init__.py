"""The checks of `oyez check` and `oyez doctor`: tables of questions, about settings and about a running server."""
