"""Figures: a result in, a plotly figure out. No streamlit, no torch."""
