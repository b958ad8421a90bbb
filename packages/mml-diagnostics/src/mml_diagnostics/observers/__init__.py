"""Callbacks that measure and record, and change nothing."""
