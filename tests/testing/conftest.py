"""What the tests of the testing kit share: tests of users, run by a pytest of their own."""

from __future__ import annotations

from tests.testing.pytests import users as users
