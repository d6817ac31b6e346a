"""What dsgmigd knows about DSG: the metadata below `.dsg/`."""
