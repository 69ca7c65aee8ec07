"""The entry point of ``python -m torchdau``, the same command as ``torchdau``."""

from torchdau_cli.main import main

if __name__ == "__main__":
    main()
