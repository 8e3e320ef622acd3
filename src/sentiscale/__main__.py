"""Run the `sentiscale` command with `python -m sentiscale`."""

from sentiscale.cli import main

if __name__ == "__main__":
    main()
