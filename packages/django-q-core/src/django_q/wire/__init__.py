"""Builds, validates, signs and reads the packages of tasks."""
