"""A small program with work left to do: `make demo` fills holes in this file and shows them, without changing it."""

import json
from dataclasses import dataclass, field
from pathlib 


class Account:
    """Money that belongs to somebody."""

    def __init__(self, owner, currency, balance=0):
        self.owner = owner
        self.currency = currency
        self.balance = balance
        self.history = []

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount
        self.history.append(

    def to_dict(self):
        return {"owner": self.owner, "currency": self.currency, "balance": self.balance}


@dataclass
class Bank:
    """Accounts by owner, kept in one JSON file."""

    path: Path
    accounts: dict = field(default_factory=dict)

    def save(self):
        data = [account.to_dict() for account in self.accounts.values()]
        with open(self.path, "w") as file:
            json.dump(data, file, indent=2)

    def total(self):
        total = 0
        for account in self.accounts.
            total += account.balance
        return total
