"""The page: what Streamlit runs."""

import streamlit as st

st.set_page_config(page_title="headscope", layout="wide", initial_sidebar_state="expanded")

from headscope.app.views import page  # noqa: E402 (the page's frame is set before the slow imports)

page.show()
