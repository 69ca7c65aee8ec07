"""The commands of ``torchdau`` that are not Lightning's, a file each."""
