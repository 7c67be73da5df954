from minicoulomb.__main__ import main  # `python cli.py train` works from a checkout

main()
