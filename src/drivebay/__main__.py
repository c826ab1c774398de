"""``python -m drivebay``: the command line where the program's folder is not on the path."""

from drivebay.cli import main

if __name__ == "__main__":
    main()
