"""`dsgmigd doctor`: what interrupted requests left behind, and its removal."""
