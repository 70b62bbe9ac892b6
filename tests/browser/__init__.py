"""Tests of the real bundle in a real Chromium."""
