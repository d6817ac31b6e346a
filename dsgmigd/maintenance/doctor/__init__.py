"""What dead requests left behind: how it is found, judged, and removed."""
