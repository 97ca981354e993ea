"""The engine: moves any graph of descriptors from any source to any destination.

It knows the ports and nothing behind them, uses the standard library alone, and is where threads live.
"""
