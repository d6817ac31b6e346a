"""`python -m dsgmigd` and the console script."""

from dsgmigd.cli import main

if __name__ == "__main__":
    main()
