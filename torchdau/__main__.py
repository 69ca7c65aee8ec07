"""``python -m torchdau`` is the command ``torchdau``."""

from torchdau_cli.main import main

if __name__ == "__main__":
    main()
