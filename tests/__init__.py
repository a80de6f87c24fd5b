"""Tests across the distributions, and what all tests share: settings and private servers."""
