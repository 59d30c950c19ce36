"""What prompts and files of pictures say, read without decoding a pixel. Standard library only."""
