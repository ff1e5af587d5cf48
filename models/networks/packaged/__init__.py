"""Networks of other people's packages as peers: HTDemucs and BS-RoFormer."""
