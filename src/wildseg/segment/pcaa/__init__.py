"""Partial class activation attention (PCAA): its attention, its network and its losses."""
