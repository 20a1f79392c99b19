"""`python -m deploy.cli` is `mediabus` where its script is not on the PATH."""

from deploy.cli.app import main

if __name__ == "__main__":
    main()
