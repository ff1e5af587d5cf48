"""One script per claim about speed or quality: both sides in one run, a table and the ratio last, JSON on request."""
