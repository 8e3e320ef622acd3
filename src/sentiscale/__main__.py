"""`python -m sentiscale` is the `sentiscale` command."""

from sentiscale.cli import main

if __name__ == "__main__":
    main()
