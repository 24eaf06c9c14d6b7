"""Orders and money: accounts, the paper broker, the desk that every order passes."""
