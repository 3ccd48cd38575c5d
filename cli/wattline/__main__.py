"""`python -m wattline`: the command, whatever PATH says."""

from wattline.main import main

if __name__ == "__main__":
    main()
