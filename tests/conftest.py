"""Makes the modules beside it (`interpreter`) importable from every test folder."""
