"""`python -m wattline`: the command, independent of PATH."""

from wattline.main import main

if __name__ == "__main__":
    main()
