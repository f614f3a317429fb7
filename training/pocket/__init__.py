"""Train `pocket`, a CLIP small enough to ship, on captioned images drawn here."""
