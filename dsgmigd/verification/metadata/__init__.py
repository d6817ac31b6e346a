"""The verifier's own reader of `.dsg/`: it shares no code with the writer in `dsgmigd.dsg`.

Start reading in `documents`.
"""
